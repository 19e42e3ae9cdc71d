"""Close a month: no new reservations, wait out the grace, expire what is left, write the `close` entry of each lane."""

from __future__ import annotations

from datetime import timedelta

from shared.application.build_statement import BuildStatement
from shared.application.expire_reservations import ExpireReservations
from shared.application.ports import Clock, Ledger
from shared.domain.errors import GatewayError
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger import Account, Limit


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
                account = Account(lane.tenant_id, lane.period, Limit(0, 0))
                await self._ledger.begin_closing(account)
                await self._expire.sweep(lane.period, lane.tenant_id)
                await self._ledger.close(account)
                tenants += 1
        return tenants


class ExportChargeback:
    """What the timer `export_chargeback` does: close the previous period and write its statements."""

    def __init__(self, close: ClosePeriod, build: BuildStatement, clock: Clock) -> None:
        self._close = close
        self._build = build
        self._clock = clock

    async def __call__(self) -> dict[str, str]:
        """The SHA-256 of each file written. Raises `PeriodNotOver` before the end of the grace."""
        period = BillingPeriod.containing(self._clock.now()).previous()
        await self._close(period)
        return await self._build(str(period))
