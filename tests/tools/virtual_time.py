"""An event loop in virtual time. Time passes only when all tasks wait, so that a run depends on its seed alone."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import Any, TypeVar

T = TypeVar("T")


class _NoWaiting(selectors.SelectSelector):
    """A selector that moves the clock to the next timer instead of waiting for sockets."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise RuntimeError("every task waits for something that will never happen")
        self.now += max(0.0, timeout)
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop without real waiting: `asyncio.sleep(3600)` takes no time and moves `time()` by an hour."""

    def __init__(self) -> None:
        self._virtual = _NoWaiting()
        super().__init__(self._virtual)
        self._clock_resolution = 1e-9

    def time(self) -> float:
        return self._virtual.now


def run_in_virtual_time(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` and return its result. Remaining tasks are cancelled afterwards."""
    loop = VirtualTimeLoop()
    loop.set_exception_handler(lambda *_: None)
    try:
        return loop.run_until_complete(main)
    finally:
        while left := asyncio.all_tasks(loop):  # a cancelled task may start another
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()


class VirtualClock:
    """Implements `Clock` by the loop's time, with an error in seconds."""

    def __init__(self, start: datetime, skew_seconds: float = 0.0) -> None:
        self._start = start
        self._skew = timedelta(seconds=skew_seconds)

    def now(self) -> datetime:
        return self._start + timedelta(seconds=self.monotonic()) + self._skew

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
