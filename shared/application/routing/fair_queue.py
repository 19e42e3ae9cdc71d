"""Weighted fair queue: a tenant with few waiting requests is served before one with many.

Each request gets a virtual finish time: a fixed step after that of its tenant's request before. The step is shorter for
a tenant with more weight. The request with the earliest finish time is served first.

Source: https://doi.org/10.1145/75246.75248
"""

from __future__ import annotations

import asyncio
from bisect import bisect
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from operator import attrgetter
from typing import Final, Generic, TypeAlias, TypeVar

from shared.domain.errors import ClientDisconnected
from shared.domain.values import value

T = TypeVar("T")
WaitForDisconnect: TypeAlias = Callable[[], Coroutine[object, object, object]]
"""Returns when the client has disconnected."""

_MAX_PASSED_OVER: Final = 8
"""Waiters that cannot be served before the search ends; a search of the whole queue would cost too much."""


@value
class WaitingPolicy:
    """The longest wait of a request, and the most requests that may wait in one queue."""

    seconds: float
    max_waiting: int


class QueueFull(Exception):
    """Too many requests wait, and all of them come before this one."""


@dataclass(slots=True, eq=False)
class _Waiter(Generic[T]):
    flow: str
    finish_time: float
    serve: Callable[[], T | None]
    served: asyncio.Future[T]


class FairQueue(Generic[T]):
    """A queue of at most `max_waiting` waiters. A flow is the sequence of one tenant's requests.

    The owner calls `advance` whenever a waiter may be served. `take_back` gets a result whose waiter left at the moment
    when it was served.
    """

    def __init__(self, max_waiting: int, take_back: Callable[[T], None]) -> None:
        self._max_waiting = max_waiting
        self._take_back = take_back
        self._waiters: list[_Waiter[T]] = []
        self._finish_times: dict[str, float] = {}
        self._virtual_time = 0.0

    def __len__(self) -> int:
        return len(self._waiters)

    def ahead_of(self, flow: str, weight: int) -> int:
        """Count the waiters that would be served before a request that came now."""
        return bisect(self._waiters, self._finish_time(flow, weight), key=attrgetter("finish_time"))

    def may_be_passed(self, flow: str, weight: int) -> bool:
        """Serve those who can be served. Tells whether none of the others before a request that came now can be."""
        self.advance()
        return self.ahead_of(flow, weight) <= _MAX_PASSED_OVER

    async def wait(
        self,
        flow: str,
        weight: int,
        serve: Callable[[], T | None],
        seconds: float,
        wait_for_disconnect: WaitForDisconnect | None = None,
    ) -> T:
        """Wait until `serve` returns a result other than `None`, and return that. A cancelled waiter leaves the queue.

        - Raises `TimeoutError` after `seconds`.
        - Raises `QueueFull` if the queue is full of earlier waiters, at once or when one enters later.
        - Raises `ClientDisconnected` once `wait_for_disconnect` returns.
        """
        waiter = self._enter(flow, weight, serve)
        watch: asyncio.Future[object] | None = None
        if wait_for_disconnect is not None:
            watch = asyncio.ensure_future(wait_for_disconnect())
            watch.add_done_callback(lambda _: self._dismiss(waiter))
        self.advance()  # waiters ahead may need a backend that this one does not need
        try:
            async with asyncio.timeout(seconds):
                return await waiter.served
        except (asyncio.CancelledError, TimeoutError):
            if waiter in self._waiters:
                self._remove(waiter)
            elif waiter.served.done() and not waiter.served.cancelled() and not waiter.served.exception():
                self._take_back(waiter.served.result())
            raise
        finally:
            if watch is not None:
                watch.cancel()

    def advance(self) -> None:
        """Serve the waiters that can be served, in order. Passes over some that cannot."""
        passed_over = 0
        for waiter in [each for each in self._waiters if not each.served.done()]:  # a cancelled one is about to leave
            served = waiter.serve()
            if served is not None:
                self._virtual_time = max(self._virtual_time, waiter.finish_time)
                self._remove(waiter)
                waiter.served.set_result(served)
            elif (passed_over := passed_over + 1) == _MAX_PASSED_OVER:
                break

    def refuse_all(self) -> None:
        """Refuse all waiters with `QueueFull`, because none can be served soon."""
        for waiter in [*self._waiters]:
            self._refuse(waiter, QueueFull())

    def _enter(self, flow: str, weight: int, serve: Callable[[], T | None]) -> _Waiter[T]:
        served: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        waiter = _Waiter(flow=flow, finish_time=self._finish_time(flow, weight), serve=serve, served=served)
        if len(self._waiters) >= self._max_waiting:
            last = self._waiters[-1] if self._waiters else waiter
            if last.finish_time <= waiter.finish_time:
                raise QueueFull
            self._refuse(last, QueueFull())
        self._finish_times[flow] = waiter.finish_time
        index = bisect(self._waiters, waiter.finish_time, key=attrgetter("finish_time"))
        self._waiters.insert(index, waiter)
        return waiter

    def _dismiss(self, waiter: _Waiter[T]) -> None:
        if waiter in self._waiters:
            self._refuse(waiter, ClientDisconnected())

    def _refuse(self, waiter: _Waiter[T], error: Exception) -> None:
        self._remove(waiter)
        if not waiter.served.done():
            waiter.served.set_exception(error)

    def _finish_time(self, flow: str, weight: int) -> float:
        return max(self._virtual_time, self._finish_times.get(flow, 0.0)) + 1 / weight

    def _remove(self, waiter: _Waiter[T]) -> None:
        self._waiters.remove(waiter)
        if not self._waiters:
            self._finish_times.clear()
            self._virtual_time = 0.0
