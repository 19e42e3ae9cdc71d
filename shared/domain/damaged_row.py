"""A stored row that cannot be read, because something else wrote it. It hides no other row, and is always named."""

from __future__ import annotations

from shared.domain.values import value


@value
class DamagedRow:
    """A row, as `registry/2026-11/acme|vault`, and what is wrong with it, in words."""

    row: str
    message: str

    def __str__(self) -> str:
        return f"{self.row} ({self.message})"
