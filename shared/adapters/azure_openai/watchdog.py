"""Ends what waits too long: one timer for all waits, because one for each costs a request more than it should."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Final, Protocol

NOT_WAITING: Final = math.inf
_LOOKS_PER_WAIT: Final = 8
_MAX_INTERVAL_SECONDS: Final = 1.0


class Waiting(Protocol):
    """Something that waits since `since` (monotonic seconds, or `NOT_WAITING`) and is given up after `allowed` seconds.

    Both may change while it is watched. `give_up` is called once, from the event loop.
    """

    since: float
    allowed: float

    def give_up(self) -> None: ...


class Watchdog:
    """Looks at every wait at an interval of an eighth of the shortest that is allowed, and at least once a second.

    Time for which the event loop was held up counts for nobody: what came meanwhile has not been read yet.
    """

    def __init__(self, shortest: float) -> None:
        self._interval = min(_MAX_INTERVAL_SECONDS, shortest / _LOOKS_PER_WAIT)
        self._waits: set[Waiting] = set()
        self._is_looking = False
        self._due = 0.0

    def watch(self, wait: Waiting) -> None:
        self._waits.add(wait)
        if not self._is_looking:
            self._is_looking = True
            self._look_later()

    def unwatch(self, wait: Waiting) -> None:
        """Watch it no longer; harmless if it is not watched."""
        self._waits.discard(wait)

    def _look_later(self) -> None:
        self._due = time.monotonic() + self._interval
        asyncio.get_running_loop().call_later(self._interval, self._look)

    def _look(self) -> None:
        now = time.monotonic()
        held_up = max(0.0, now - self._due)
        for wait in [*self._waits]:
            wait.since += held_up
            if now - wait.since >= wait.allowed:
                self._waits.discard(wait)
                wait.give_up()
        self._is_looking = bool(self._waits)
        if self._is_looking:
            self._look_later()
