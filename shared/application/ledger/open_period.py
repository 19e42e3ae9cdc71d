"""Open a billing period for all tenants, before it begins if possible. Nothing is reset: a period has its own rows."""

from __future__ import annotations

from collections.abc import AsyncIterator

from shared.application.ledger.swept_lanes import lane_name, vaults_of
from shared.application.ports.clock import Clock
from shared.application.ports.ledger import Ledger
from shared.application.ports.tenancy import TenantDirectory
from shared.application.sweep import Failures, Sweep
from shared.application.tenancy.every_tenant import PAGE_SIZE, every_tenant, tenant_name
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.amounts import Limit
from shared.domain.ledger.balance import Account, Lane
from shared.domain.tenancy.tenant import Tenant, TenantState

PRE_OPENING_DAY = 25


class OpenPeriod:
    """The use case of the timer `reset_monthly_quotas`. Running late, twice or never is harmless.

    The first request of a tenant opens the period if the timer did not.
    """

    def __init__(
        self, tenants: TenantDirectory, ledger: Ledger, clock: Clock, sweep: Sweep, page_size: int = PAGE_SIZE
    ) -> None:
        self._page_size = page_size
        self._tenants = tenants
        self._ledger = ledger
        self._clock = clock
        self._sweep = sweep

    async def __call__(self) -> int:
        """Open the current period, from day 25 also the next, and begin to close the previous one.

        Returns the number of tenants that are not closed. Tenants that fail are left for the next run. Raises
        `SweepFailed` once all others are done.
        """
        failures, opened = Failures(), 0
        with failures.collected("to open"):
            opened = (await self._sweep("open_period", self._open_tenants(), self._open, tenant_name)).done
        with failures.collected("to begin closing"):
            previous = BillingPeriod.containing(self._clock.now()).previous()
            await self._sweep("begin_closing", vaults_of(self._ledger, previous), self._begin_closing, lane_name)
        failures.raise_any()
        return opened

    async def _open_tenants(self) -> AsyncIterator[Tenant]:
        async for tenant in every_tenant(self._tenants, self._page_size):
            if tenant.state is not TenantState.CLOSED:
                yield tenant

    async def _open(self, tenant: Tenant) -> int:
        now = self._clock.now()
        current = BillingPeriod.containing(now)
        for period in (current, current.next()) if now.day >= PRE_OPENING_DAY else (current,):
            await self._ledger.open(Account(tenant_id=tenant.tenant_id, period=str(period), limit=tenant.limit))
        return 1

    async def _begin_closing(self, vault: Lane) -> int:
        account = Account(tenant_id=vault.tenant_id, period=vault.period, limit=Limit(0, 0))
        await self._ledger.begin_closing(account)
        return 1
