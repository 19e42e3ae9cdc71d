"""Complete transfers between the lanes of hot tenants that a process left half done when it died."""

from __future__ import annotations

from collections.abc import AsyncIterator

from shared.application.ledger.swept_lanes import lane_name, lanes_of
from shared.application.ports.clock import Clock
from shared.application.ports.ledger import Ledger
from shared.application.sweep import Sweep
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.amounts import Limit
from shared.domain.ledger.balance import Account, Lane


class LevelLanes:
    """The use case of the timer `level_lanes`. Running late, twice or concurrently is harmless."""

    def __init__(self, ledger: Ledger, clock: Clock, sweep: Sweep) -> None:
        self._ledger = ledger
        self._clock = clock
        self._sweep = sweep

    async def __call__(self) -> int:
        """Level the lanes of the previous and the current period. Returns the number of completed transfers.

        Tenants that fail are left for the next run. Raises `SweepFailed` once all others are done.
        """
        return (await self._sweep("level_lanes", self._hot(), self._level, lane_name)).done

    async def _hot(self) -> AsyncIterator[Lane]:
        """Yield the vault of each tenant with several lanes."""
        current, last = BillingPeriod.containing(self._clock.now()), None
        async for lane in lanes_of(self._ledger, current.previous(), current):
            if lane.vault not in (lane, last):
                last = lane.vault
                yield last

    async def _level(self, vault: Lane) -> int:
        return await self._ledger.level_lanes(Account(tenant_id=vault.tenant_id, period=vault.period, limit=Limit()))
