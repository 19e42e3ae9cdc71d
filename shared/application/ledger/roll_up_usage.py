"""Sum new entries into rollups, each exactly once, whoever else does the same at the same time."""

from __future__ import annotations

from shared.application.ports.clock import Clock
from shared.application.ports.ledger import Ledger, RollupStore, Watermark
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.balance import Lane
from shared.domain.ledger.rollup import Rollup, RollupKey, rollup_of

MAX_ROWS = 99
"""A transaction has 100 rows, one of which is the watermark."""


class RollUpUsage:
    """What the timer `roll_up_usage` does. It resumes at the watermark, so running late, twice or never is harmless."""

    def __init__(self, ledger: Ledger, rollups: RollupStore, clock: Clock) -> None:
        self._ledger = ledger
        self._rollups = rollups
        self._clock = clock

    async def __call__(self) -> int:
        """Roll up the previous and the current period; returns how many entries were added."""
        current = BillingPeriod.containing(self._clock.now())
        added = 0
        for period in (str(current.previous()), str(current)):
            async for lane in self._ledger.lanes(period):
                added += await self.lane(lane)
        return added

    async def lane(self, lane: Lane) -> int:
        """Roll up one lane to its end; returns how many entries this call added."""
        balance = await self._ledger.balance(lane)
        last = balance.seq if balance else 0
        added = 0
        while (since := await self._rollups.watermark(lane)).seq < last:
            seq, sums = await self._next(lane, since, last)
            if await self._rollups.advance(lane, since, seq, sums):
                added += seq - since.seq
        return added

    async def _next(self, lane: Lane, since: Watermark, last: int) -> tuple[int, dict[RollupKey, Rollup]]:
        """As many entries as fit into one transaction: the number of the last, and their sums."""
        sums: dict[RollupKey, Rollup] = {}
        seq = since.seq
        async for entry in self._ledger.entries(lane, since.seq + 1, last):
            found = rollup_of(entry)
            if found is not None:
                key, added = found
                if key not in sums and len(sums) == MAX_ROWS:
                    break
                sums[key] = sums.get(key, Rollup()) + added
            seq = entry.seq
        return seq, sums
