"""Refuse a request before its body is read, where its tenant cannot be served whatever the body says."""

from __future__ import annotations

from collections.abc import Coroutine

from shared.application.ports.clock import Clock
from shared.application.ports.ledger import Ledger
from shared.domain.errors import PeriodExhausted, RateLimitExceeded, TenantSuspended
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.balance import Account
from shared.domain.tenancy.tenant import Tenant, TenantState


class CheckBeforeBody:
    """Asks the ledger only for large bodies, and for tenants whose last answer was a refusal. Small bodies cost little.

    A refusal stands only on a balance that was read a moment ago, as every refusal of the ledger does.
    """

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock
        self._refused: set[str] = set()

    def check(self, tenant: Tenant, has_large_body: bool) -> Coroutine[object, object, None] | None:  # noqa: FBT001 - ADR 12
        """Check a tenant. Returns a check to await, or `None` if there is nothing to ask.

        Raises `TenantSuspended`; the check raises what `Ledger.ask` raises.
        """
        if tenant.state is not TenantState.ACTIVE:
            raise TenantSuspended
        if has_large_body or tenant.tenant_id in self._refused:
            return self._ask(tenant)
        return None

    def note_refusal(self, tenant_id: str) -> None:
        """Ask before this tenant's next body."""
        self._refused.add(tenant_id)

    async def _ask(self, tenant: Tenant) -> None:
        account = Account(
            tenant_id=tenant.tenant_id,
            period=str(BillingPeriod.containing(self._clock.now())),
            limit=tenant.limit,
            rate_limits=tenant.rate_limits,
            lanes=tenant.lanes,
        )
        try:
            await self._ledger.ask(account)
        except (PeriodExhausted, RateLimitExceeded):
            self._refused.add(tenant.tenant_id)
            raise
        self._refused.discard(tenant.tenant_id)
