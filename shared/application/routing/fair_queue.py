"""A short queue that is fair to tenants: who has waited for few is served before who waits for many.

Weighted fair queueing (https://doi.org/10.1145/75246.75248) over requests: each takes a turn that is the shorter, the
more weight its tenant has, and whoever's turn ends first is next.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Final, Generic, TypeAlias, TypeVar

from shared.domain.errors import ClientDisconnected

T = TypeVar("T")
WaitForDisconnect: TypeAlias = Callable[[], Coroutine[object, object, object]]
"""Returns when a caller has gone."""

_LOOKS: Final = 8


class QueueFull(Exception):
    """Too many wait already, and none of them is less urgent."""


@dataclass(slots=True, eq=False)
class _Waiter(Generic[T]):
    flow: str
    turn_ends: float
    serve: Callable[[], T | None]
    served: asyncio.Future[T]


class FairQueue(Generic[T]):
    """At most so many waiters; `advance` is to be called whenever somebody may be served.

    `take_back` gets what was given to a waiter who had left in the same moment.
    """

    def __init__(self, most: int, take_back: Callable[[T], None]) -> None:
        self._most = most
        self._take_back = take_back
        self._waiters: list[_Waiter[T]] = []
        self._turns_end: dict[str, float] = {}
        self._time = 0.0

    def __len__(self) -> int:
        return len(self._waiters)

    def ahead_of(self, flow: str, weight: int) -> int:
        """How many a request that came now would wait for."""
        turn_ends = self._turn_end(flow, weight)
        return sum(waiter.turn_ends <= turn_ends for waiter in self._waiters)

    async def wait(
        self,
        flow: str,
        weight: int,
        serve: Callable[[], T | None],
        seconds: float,
        wait_for_disconnect: WaitForDisconnect | None = None,
    ) -> T:
        """What `serve` gives once it gives anything. Whoever is cancelled leaves the queue.

        Raises `TimeoutError` after so many seconds, `QueueFull` where too many are before it, also later on, and
        `ClientDisconnected` once `wait_for_disconnect` returns.
        """
        waiter = self._enter(flow, weight, serve)
        watch: asyncio.Future[object] | None = None
        if wait_for_disconnect is not None:
            watch = asyncio.ensure_future(wait_for_disconnect())
            watch.add_done_callback(lambda _: self._dismiss(waiter))
        self.advance()  # those ahead may wait for what this one does not need
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
        """Serve whoever can be, in turn. Those who can't are passed over, some of them at most."""
        refused = 0
        for waiter in [each for each in self._waiters if not each.served.done()]:  # who is cancelled is about to leave
            served = waiter.serve()
            if served is not None:
                self._time = max(self._time, waiter.turn_ends)
                self._remove(waiter)
                waiter.served.set_result(served)
            elif (refused := refused + 1) == _LOOKS:
                break

    def refuse_all(self) -> None:
        """Tell everybody that nobody will be served soon, as if too many were before them."""
        for waiter in [*self._waiters]:
            self._refuse(waiter, QueueFull())

    def _enter(self, flow: str, weight: int, serve: Callable[[], T | None]) -> _Waiter[T]:
        waiter = _Waiter[T](flow, self._turn_end(flow, weight), serve, asyncio.get_running_loop().create_future())
        if len(self._waiters) >= self._most:
            last = self._waiters[-1] if self._waiters else waiter
            if last.turn_ends <= waiter.turn_ends:
                raise QueueFull
            self._refuse(last, QueueFull())
        self._turns_end[flow] = waiter.turn_ends
        place = next(
            (place for place, other in enumerate(self._waiters) if other.turn_ends > waiter.turn_ends),
            len(self._waiters),
        )
        self._waiters.insert(place, waiter)
        return waiter

    def _dismiss(self, waiter: _Waiter[T]) -> None:
        if waiter in self._waiters:
            self._refuse(waiter, ClientDisconnected())

    def _refuse(self, waiter: _Waiter[T], error: Exception) -> None:
        self._remove(waiter)
        if not waiter.served.done():
            waiter.served.set_exception(error)

    def _turn_end(self, flow: str, weight: int) -> float:
        return max(self._time, self._turns_end.get(flow, 0.0)) + 1 / weight

    def _remove(self, waiter: _Waiter[T]) -> None:
        self._waiters.remove(waiter)
        if not self._waiters:
            self._turns_end.clear()
            self._time = 0.0
