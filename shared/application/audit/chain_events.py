"""Chain the events that wait in the partitions of their documents."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import groupby
from typing import Final

from shared.application.audit.log_changes import log_change
from shared.application.ports.audit import AuditChain, OutboxEntry, WaitingEvents
from shared.application.ports.clock import Clock
from shared.application.sweep import AT_ONCE, Failures
from shared.domain.audit.audit_chain import WaitingEvent
from shared.domain.errors import RowsDamaged

_PAGE: Final = 1000
"""The most rows of a table that are read at once, beside those that hold no event."""


class ChainEvents:
    """The use case of the timer `chain_audit`. It chains each event once, in the order of their times.

    - A row is deleted after its event is chained. A process that dies in between leaves a row whose event is chained
      already: the next run finds that and deletes it.
    - Running late, twice or concurrently is harmless.
    - A row that holds no event stays, is reported in each run, and stops no other.
    """

    def __init__(self, waiting: WaitingEvents, chain: AuditChain, clock: Clock, slice_seconds: float) -> None:
        self._waiting = waiting
        self._chain = chain
        self._clock = clock
        self._slice_seconds = slice_seconds

    async def __call__(self) -> int:
        """Chain what waits, for one slice of time. Returns the number of new events in the log.

        Raises `SweepFailed` for rows, tables and months that failed, once all others are done.
        """
        failures, ends, added = Failures(), self._clock.monotonic() + self._slice_seconds, 0
        is_complete, limit = False, _PAGE
        while not is_complete and self._clock.monotonic() < ends:
            found, is_complete = await self._listed(limit, failures)
            new, done = await self._chained([each for each in found if each.event is not None], failures)
            added, left = added + new, len(found) - done
            is_complete = is_complete or (not done and limit > left)
            limit = _PAGE + left
        self._report([each for each in found if each.event is None], failures)
        failures.raise_any()
        return added

    async def _listed(self, limit: int, failures: Failures) -> tuple[Sequence[OutboxEntry], bool]:
        """List rows of all tables, of each at most `limit`. Returns with them whether these are all."""
        found, is_complete = list[OutboxEntry](), True
        for table in self._waiting.tables:
            with failures.collected(f"the list of {table}"):
                rows = await self._waiting.waiting(table, limit)
                found += rows
                is_complete = is_complete and len(rows) < limit
        return found, is_complete

    async def _chained(self, entries: Sequence[OutboxEntry], failures: Failures) -> tuple[int, int]:
        """Chain the events of some rows and delete the rows. Returns the number of new events and of deleted rows."""
        added = done = 0
        ordered = sorted(
            ((each.event, each) for each in entries if each.event), key=lambda both: (both[0].at, both[0].event_id)
        )
        for period, of_month in groupby(ordered, key=lambda both: both[0].period):
            pairs = list(of_month)
            with failures.collected(f"the log of {period}"):
                added += await self._chain.append(period, [event for event, _ in pairs])
                done += await self._delete(pairs, failures)
        return added, done

    async def _delete(self, chained: Sequence[tuple[WaitingEvent, OutboxEntry]], failures: Failures) -> int:
        """Delete rows whose events are chained, some at once, and log the changes. Returns their number."""
        waiting, deleted = list(reversed(chained)), 0

        async def worker() -> None:
            nonlocal deleted
            while waiting:
                event, row = waiting.pop()
                with failures.collected(row.name):
                    await self._waiting.remove(row)
                    deleted += 1
                    log_change(event)

        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))
        return deleted

    def _report(self, faulty: Sequence[OutboxEntry], failures: Failures) -> None:
        for row in faulty:
            with failures.collected(row.name):
                raise RowsDamaged(f"The row {row.fault}.")
