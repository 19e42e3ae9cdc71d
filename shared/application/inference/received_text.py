"""Events of a stream, kept to estimate its usage."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

_PACK_BYTES = 262_144
"""Events kept unpacked, in bytes."""


class ReceivedText:
    """Keeps the events of a stream, to estimate the usage of the rare one that states none.

    Packs long streams as they grow. Events repeat each other so much that they compress very well.
    """

    def __init__(self) -> None:
        self._recent: list[bytes] = []
        self._recent_bytes = 0
        self._packed: list[bytes] = []

    def keep(self, events: bytes) -> None:
        """Add events."""
        self._recent.append(events)
        self._recent_bytes += len(events)
        if self._recent_bytes > _PACK_BYTES:
            self._packed.append(zlib.compress(b"".join(self._recent), level=1))
            self._recent.clear()
            self._recent_bytes = 0

    def parts(self) -> Iterator[bytes]:
        """Yield the events in order."""
        yield from map(zlib.decompress, self._packed)
        yield b"".join(self._recent)
