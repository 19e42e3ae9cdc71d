"""Close a billing period: admit nothing, expire open reservations, write the `close` entry of each lane."""

from __future__ import annotations

from datetime import datetime, timedelta

from shared.application.ledger.expire_reservations import ExpireReservations
from shared.application.ledger.swept_lanes import lane_name, vaults_of
from shared.application.ports.clock import Clock
from shared.application.ports.ledger import Ledger
from shared.application.sweep import Failures, Sweep, Swept
from shared.domain.errors import GatewayError
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.amounts import Limit
from shared.domain.ledger.balance import Account, Lane


class PeriodNotOver(GatewayError):
    """The period or its grace time has not ended, so it cannot be closed."""


class ClosePeriod:
    """Closes a period after a grace time for late settlements. Idempotent; the next run continues one that failed."""

    def __init__(
        self, ledger: Ledger, expire: ExpireReservations, clock: Clock, grace: timedelta, sweep: Sweep
    ) -> None:
        self._ledger = ledger
        self._expire = expire
        self._clock = clock
        self._grace = grace
        self._sweep = sweep

    def due_from(self, period: BillingPeriod) -> datetime:
        """Return the end of a period's grace time."""
        return period.end + self._grace

    def is_due(self, period: BillingPeriod) -> bool:
        """Return whether a period may be closed now."""
        return self._clock.now() >= self.due_from(period)

    async def __call__(self, period: BillingPeriod) -> Swept:
        """Close all lanes of all tenants in a period. Returns the number of tenants, and if all were reached.

        - Raises `PeriodNotOver` before the end of the grace time.
        - Raises `SweepFailed` for the tenants that could not be closed, once all others are. Causes are
          `ReservationsOpen`, `UnpricedModel` for a reservation whose prices are missing, and `LedgerUnavailable`.
        """
        if not self.is_due(period):
            raise PeriodNotOver(
                f"The billing period {period} can be closed from {self.due_from(period):%Y-%m-%d %H:%M} UTC."
            )
        return await self._sweep(f"close_{period}", vaults_of(self._ledger, period), self._close, lane_name)

    async def _close(self, vault: Lane) -> int:
        """Close all lanes of one tenant. A reservation that cannot expire does not keep the other lanes' from it."""
        account = Account(tenant_id=vault.tenant_id, period=vault.period, limit=Limit(0, 0))
        await self._ledger.begin_closing(account)
        failures = Failures()
        async for lane in self._ledger.lanes(vault.period, vault.tenant_id):
            with failures.collected(lane_name(lane)):
                await self._expire.lane(lane)
        failures.raise_any()
        await self._ledger.close(account)
        return 1
