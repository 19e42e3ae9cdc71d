"""Sum new entries into rollups. Each entry is counted exactly once, even if several processes do it at once."""

from __future__ import annotations

from shared.application.ledger.swept_lanes import lane_name, lanes_of
from shared.application.ports.clock import Clock
from shared.application.ports.ledger import Ledger, RollupStore, Watermark
from shared.application.sweep import Sweep
from shared.domain.errors import GatewayError
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.balance import Lane
from shared.domain.ledger.rollup import Rollup, RollupKey, rollup_of

MAX_ROWS = 99
"""A transaction has at most 100 rows, and one of them is the watermark."""


class EntriesMissing(GatewayError):
    """A lane lacks entries that its balance counts. `tallygate verify` names them."""


class RollUpUsage:
    """The use case of the timer `roll_up_usage`. Running late, twice or never is harmless.

    It continues at the watermark.
    """

    def __init__(self, ledger: Ledger, rollups: RollupStore, clock: Clock, sweep: Sweep) -> None:
        self._ledger = ledger
        self._rollups = rollups
        self._clock = clock
        self._sweep = sweep

    async def __call__(self) -> int:
        """Roll up the previous and the current period. Returns the number of added entries.

        Lanes that fail are left for the next run. Raises `SweepFailed` once all others are done.
        """
        current = BillingPeriod.containing(self._clock.now())
        lanes = lanes_of(self._ledger, current.previous(), current)
        return (await self._sweep("roll_up_usage", lanes, self.lane, lane_name)).done

    async def lane(self, lane: Lane) -> int:
        """Roll up one lane to its last entry. Returns the number of entries that this call added."""
        balance = await self._ledger.balance(lane)
        last = balance.seq if balance else 0
        added = 0
        while (since := await self._rollups.watermark(lane)).seq < last:
            seq, sums = await self._next(lane, since, last)
            if seq == since.seq:
                raise EntriesMissing(f"Entry {seq + 1} is missing, the balance says that there are {last}.")
            if await self._rollups.advance(lane, since, seq, sums):
                added += seq - since.seq
        return added

    async def _next(self, lane: Lane, since: Watermark, last: int) -> tuple[int, dict[RollupKey, Rollup]]:
        """Sum as many entries as fit into one transaction. Returns the number of the last one, and the sums."""
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
