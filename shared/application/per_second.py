"""A bound of occurrences a second, by kind."""

from __future__ import annotations

import time


class PerSecond:
    """Counts occurrences of each kind in the current second, and those that were left out.

    The caller bounds the number of kinds.
    """

    def __init__(self) -> None:
        self._second = 0
        self._admitted: dict[str, int] = {}
        self._left_out: dict[str, int] = {}

    def admit(self, kind: str, most: int) -> bool:
        """Tell whether another one is within the bound. One that is not is counted."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._admitted = second, {}
        admitted = self._admitted.get(kind, 0)
        if admitted >= most:
            self._left_out[kind] = self._left_out.get(kind, 0) + 1
            return False
        self._admitted[kind] = admitted + 1
        return True

    def take_left_out(self, kind: str) -> int:
        """Return the number of those that were left out since it was last asked for."""
        return self._left_out.pop(kind, 0)

    def clear(self) -> None:
        """Forget all counts."""
        self._admitted.clear()
        self._left_out.clear()
