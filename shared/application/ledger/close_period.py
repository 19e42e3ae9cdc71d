"""Close a billing period: admit nothing, expire open reservations, write the `close` entry of each lane."""

from __future__ import annotations

from datetime import timedelta

from shared.application.ledger.expire_reservations import ExpireReservations
from shared.application.ports.clock import Clock
from shared.application.ports.ledger import Ledger
from shared.domain.errors import GatewayError
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.amounts import Limit
from shared.domain.ledger.balance import Account


class PeriodNotOver(GatewayError):
    """The period or its grace time has not ended, so it cannot be closed."""


class ClosePeriod:
    """Closes a period after a grace time for late settlements. Idempotent; the next run continues one that failed."""

    def __init__(self, ledger: Ledger, expire: ExpireReservations, clock: Clock, grace: timedelta) -> None:
        self._ledger = ledger
        self._expire = expire
        self._clock = clock
        self._grace = grace

    async def __call__(self, period: BillingPeriod) -> int:
        """Close all lanes of all tenants in a period. Returns the number of tenants.

        - Raises `PeriodNotOver` before the end of the grace time.
        - Raises `ReservationsOpen` if a reservation is open whose deadline is not over.
        - Raises `LedgerUnavailable`, and `UnpricedModel` if the prices of an open reservation are missing.
        """
        if self._clock.now() < period.end + self._grace:
            raise PeriodNotOver(
                f"The billing period {period} can be closed from {period.end + self._grace:%Y-%m-%d %H:%M} UTC."
            )
        tenants = 0
        async for lane in self._ledger.lanes(str(period)):
            if lane == lane.vault:
                account = Account(tenant_id=lane.tenant_id, period=lane.period, limit=Limit(0, 0))
                await self._ledger.begin_closing(account)
                await self._expire.sweep(lane.period, lane.tenant_id)
                await self._ledger.close(account)
                tenants += 1
        return tenants
