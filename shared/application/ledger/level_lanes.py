"""Complete transfers between the lanes of hot tenants that a process left half done when it died."""

from __future__ import annotations

from shared.application.ports.clock import Clock
from shared.application.ports.ledger import Ledger
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.amounts import Limit
from shared.domain.ledger.balance import Account


class LevelLanes:
    """The use case of the timer `level_lanes`. Running late, twice or concurrently is harmless."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock

    async def __call__(self) -> int:
        """Level the lanes of the previous and the current period. Returns the number of completed transfers.

        Raises `LedgerUnavailable`.
        """
        current = BillingPeriod.containing(self._clock.now())
        completed = 0
        for period in (str(current.previous()), str(current)):
            hot = {lane.tenant_id async for lane in self._ledger.lanes(period) if lane != lane.vault}
            for tenant_id in sorted(hot):
                completed += await self._ledger.level_lanes(Account(tenant_id=tenant_id, period=period, limit=Limit()))
        return completed
