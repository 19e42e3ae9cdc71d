"""Correct limits in the books that are not those of the tenants' documents."""

from __future__ import annotations

from shared.application.ports.clock import Clock
from shared.application.ports.tenancy import TenantDirectory
from shared.application.sweep import Sweep
from shared.application.tenancy.apply_limit import ApplyLimit
from shared.application.tenancy.every_tenant import every_tenant, tenant_name
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.balance import Account
from shared.domain.tenancy.tenant import Tenant

ACTOR = "tallygate"
REASON = "the limit of the tenant's document"


class ReconcileLimits:
    """The use case of the timer `reconcile_limits`. It finishes changes whose process died or was frozen.

    Running late, twice or concurrently is harmless: a limit that is right gets no entry.
    """

    def __init__(self, tenants: TenantDirectory, apply: ApplyLimit, clock: Clock, sweep: Sweep) -> None:
        self._tenants = tenants
        self._apply = apply
        self._clock = clock
        self._sweep = sweep

    async def __call__(self) -> int:
        """Compare every tenant's document with its current and its next period. Returns the number of corrections.

        Raises `SweepFailed` for the tenants that could not be compared, once all others are.
        """
        return (await self._sweep("reconcile_limits", every_tenant(self._tenants), self._tenant, tenant_name)).done

    async def _tenant(self, tenant: Tenant) -> int:
        current = BillingPeriod.containing(self._clock.now())
        for period in (current, current.next()):
            account = Account(tenant_id=tenant.tenant_id, period=str(period), limit=tenant.limit)
            if not await self._apply.is_right(account):
                return await self._apply(tenant.tenant_id, ACTOR, REASON, opens=False)
        return 0
