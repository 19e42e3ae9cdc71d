"""Timeouts by one timer for all waits, because a timer for each wait costs every request CPU (ADR 12)."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Final, Protocol

NOT_WAITING: Final = math.inf
_CHECKS_PER_WAIT: Final = 8
_MAX_INTERVAL_SECONDS: Final = 1.0


class Waiting(Protocol):
    """An object that waits and is given up if that takes too long. Both fields may change while it is watched.

    The watchdog refers to the object itself: a bound method in one of its fields would make a reference cycle (ADR 12).
    """

    since: float
    """Monotonic seconds; `NOT_WAITING` while it does not wait."""
    allowed_seconds: float
    ends_at: float
    """Monotonic seconds after which it may not wait at all; `math.inf` for no such time."""

    def give_up(self) -> None:
        """End the wait. Called once, from the event loop."""
        ...


class Watchdog:
    """Checks all waits eight times in the shortest time that is allowed, and at least once a second.

    Time in which the event loop was blocked does not count: what arrived meanwhile has not been read yet.
    """

    def __init__(self, shortest_seconds: float) -> None:
        self._interval_seconds = min(_MAX_INTERVAL_SECONDS, shortest_seconds / _CHECKS_PER_WAIT)
        self._waits: set[Waiting] = set()
        self._is_scheduled = False
        self._due_at = 0.0

    def watch(self, wait: Waiting) -> None:
        """Begin to watch a wait."""
        self._waits.add(wait)
        if not self._is_scheduled:
            self._is_scheduled = True
            self._schedule()

    def unwatch(self, wait: Waiting) -> None:
        """Stop watching a wait. Harmless if it is not watched."""
        self._waits.discard(wait)

    def _schedule(self) -> None:
        self._due_at = time.monotonic() + self._interval_seconds
        asyncio.get_running_loop().call_later(self._interval_seconds, self._check)

    def _check(self) -> None:
        """Give up the waits that took too long. Schedules the next check if any are left."""
        now = time.monotonic()
        blocked_seconds = max(0.0, now - self._due_at)
        for wait in [*self._waits]:  # a copy, because giving up may end other waits
            wait.since += blocked_seconds
            if now - wait.since >= wait.allowed_seconds or now >= wait.ends_at > wait.since:
                self._waits.discard(wait)
                wait.give_up()
        self._is_scheduled = bool(self._waits)
        if self._is_scheduled:
            self._schedule()
