"""Close a month: admit nothing, wait out the grace, expire what is left, write each lane's `close` entry."""

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
    """The period, or its grace, has not ended."""


class ClosePeriod:
    """Idempotent and resumable: what is closed stays closed, what is not is closed by the next run."""

    def __init__(self, ledger: Ledger, expire: ExpireReservations, clock: Clock, grace: timedelta) -> None:
        self._ledger = ledger
        self._expire = expire
        self._clock = clock
        self._grace = grace

    async def __call__(self, period: BillingPeriod) -> int:
        """Close all lanes of every tenant and count the tenants.

        Raises `PeriodNotOver`, or `ReservationsOpen` for a live hold.
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
