"""Sweeps: the same work on many items, such as lanes. An item that fails stops no other (ADR 28).

A sweep works in slices of time. The run after one that stopped early begins with the items that it did not reach.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterable, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

from shared.application.ports.clock import Clock
from shared.application.ports.jobs import SweepCursors
from shared.domain.errors import GatewayError
from shared.domain.values import value

T = TypeVar("T")
logger = logging.getLogger("tallygate")

SLICES_UNTIL_CUT = 2
"""An item that is still at work when this many slices have passed since the run began is cut off."""
AT_ONCE = 8
_MAX_NAMED = 50


class SweepFailed(GatewayError):
    """Some items of a sweep failed, and all others that it reached are done. The message names each with its cause."""

    def __init__(self, failures: Sequence[tuple[str, Exception]]) -> None:
        named = [f"{name}: {_cause(error)}" for name, error in failures[:_MAX_NAMED]]
        if len(failures) > _MAX_NAMED:
            named.append(f"and {len(failures) - _MAX_NAMED} more")
        super().__init__(f"{len(failures)} failed. {'; '.join(named)}")
        self.failures = tuple(failures)


class Failures:
    """Collects the errors of many items, so that all others can be worked on before they are raised."""

    def __init__(self) -> None:
        self._found: list[tuple[str, Exception]] = []

    @contextmanager
    def collected(self, name: str) -> Iterator[None]:
        """Keep the error that the block raises, as that of the item `name`."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - raised at the end of the sweep, with its item
            self.add(name, error)

    def add(self, name: str, error: Exception) -> None:
        """Keep an error as that of the item `name`."""
        self._found.append((name, error))

    def raise_any(self) -> None:
        """Raise `SweepFailed` if any error was collected."""
        if self._found:
            raise SweepFailed(self._found) from self._found[0][1]


@value
class Swept:
    """The result of one run: the sum of what its items returned."""

    done: int
    is_complete: bool
    """Every item was reached; otherwise the next run continues."""


class Sweep:
    """Works on items, several at once, for one slice of time."""

    def __init__(self, cursors: SweepCursors, clock: Clock, slice_seconds: float, at_once: int = AT_ONCE) -> None:
        self._cursors = cursors
        self._clock = clock
        self._slice_seconds = slice_seconds
        self._at_once = at_once

    async def __call__(
        self, job: str, items: AsyncIterable[T], work: Callable[[T], Awaitable[int]], name: Callable[[T], str]
    ) -> Swept:
        """Do `work` on each item. `job` names the cursor, and `name` each item.

        - No item begins after the slice. One that is still at work another slice later is cut off, and has failed.
        - `work` must be idempotent, and harmless if it is cut off or done by two processes at once.
        - Raises `SweepFailed` at the end. A cursor that cannot be read or stored fails, too, and stops no work.
        """
        failures, cursor = Failures(), ""
        found = await _listed(items, failures)
        with failures.collected("the cursor"):
            cursor = await self._cursors.get(job)
        waiting = deque(sorted(((name(item), item) for item in found), key=lambda each: (each[0] <= cursor, each[0])))
        done, last_begun = await self._work_through(waiting, work, failures)
        stopped_at = last_begun if waiting else ""
        if stopped_at != cursor:
            with failures.collected("the cursor"):
                await self._cursors.put(job, stopped_at)
        if waiting:
            logger.warning("%s: %d items wait for the next run, which begins after %s", job, len(waiting), stopped_at)
        failures.raise_any()
        return Swept(done, not waiting)

    async def _work_through(
        self, waiting: deque[tuple[str, T]], work: Callable[[T], Awaitable[int]], failures: Failures
    ) -> tuple[int, str]:
        """Take items until none waits or the slice ends. Returns the sum of results, and the name taken last."""
        slice_ends = self._clock.monotonic() + self._slice_seconds
        cut_at = asyncio.get_running_loop().time() + self._slice_seconds * SLICES_UNTIL_CUT
        results: list[int] = []
        last_begun = ""

        async def worker() -> None:
            nonlocal last_begun
            while waiting and self._clock.monotonic() < slice_ends:
                last_begun, item = waiting.popleft()
                with failures.collected(last_begun):
                    async with asyncio.timeout_at(cut_at):
                        results.append(await work(item))

        await asyncio.gather(*(worker() for _ in range(self._at_once)))
        return sum(results), last_begun


async def _listed(items: AsyncIterable[T], failures: Failures) -> list[T]:
    """List items. If listing fails, those before the failure are worked on all the same."""
    found: list[T] = []
    with failures.collected("the list"):
        async for item in items:
            found.append(item)  # noqa: PERF401 - what was listed before an error counts
    return found


def _cause(error: Exception) -> str:
    name, message = type(error).__name__, str(error)
    return f"{name}: {message}" if message else name
