"""Count the elements of a JSON text without decoding it."""

from __future__ import annotations

from shared.domain.values import record


@record
class StructureBounds:
    """The most elements of a JSON body."""

    elements: int
    """Objects, arrays and members of objects together."""
    values: int
    """Values that follow another one."""


def add_marks(text: bytes, start: int, end: int, elements: int, values: int) -> tuple[int, int]:
    """Add the marks of a part of a text to these numbers, also those inside strings: at least the true numbers."""
    elements += text.count(b":", start, end) + text.count(b"{", start, end) + text.count(b"[", start, end)
    return elements, values + text.count(b",", start, end)


class StructureCount:
    """Counts the elements outside strings. Right up to the first byte that makes the text invalid."""

    __slots__ = ("_is_escaped", "_is_in_string", "elements", "values")

    def __init__(self) -> None:
        self.elements = 0
        self.values = 0
        self._is_in_string = False
        self._is_escaped = False

    def feed(self, part: bytes) -> None:
        """Count the next part, which is not empty. Parts may end anywhere, also inside an escape."""
        text = (part[1:] if self._is_escaped else part).replace(rb"\\", b"")
        self._is_escaped = text.endswith(b"\\")
        pieces = text.replace(rb"\"", b"").split(b'"')
        structure = b"".join(pieces[self._is_in_string :: 2])
        self._is_in_string ^= len(pieces) % 2 == 0
        self.elements, self.values = add_marks(structure, 0, len(structure), self.elements, self.values)

    def exceeds(self, bounds: StructureBounds) -> bool:
        """Tell whether more was counted than the bounds allow."""
        return self.elements > bounds.elements or self.values > bounds.values
