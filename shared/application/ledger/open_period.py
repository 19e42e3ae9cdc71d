"""Open a billing period for all tenants, before it begins if possible. Nothing is reset: a period has its own rows."""

from __future__ import annotations

from shared.application.ports.clock import Clock
from shared.application.ports.ledger import Ledger
from shared.application.ports.tenancy import TenantDirectory
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.amounts import Limit
from shared.domain.ledger.balance import Account
from shared.domain.tenancy.tenant import TenantState

PRE_OPENING_DAY = 25
_PAGE = 500


class OpenPeriod:
    """The use case of the timer `reset_monthly_quotas`. Running late, twice or never is harmless.

    The first request of a tenant opens the period if the timer did not.
    """

    def __init__(self, tenants: TenantDirectory, ledger: Ledger, clock: Clock, page_size: int = _PAGE) -> None:
        self._page_size = page_size
        self._tenants = tenants
        self._ledger = ledger
        self._clock = clock

    async def __call__(self) -> int:
        """Open the current period, from day 25 also the next, and begin to close the previous one.

        Returns the number of tenants that are not closed. Raises `StorageUnavailable` and `LedgerUnavailable`.
        """
        now = self._clock.now()
        current = BillingPeriod.containing(now)
        periods = [current, current.next()] if now.day >= PRE_OPENING_DAY else [current]
        opened = 0
        cursor: str | None = None
        while True:
            page, cursor = await self._tenants.list(self._page_size, cursor)
            for tenant in (versioned.value for versioned in page):
                if tenant.state is not TenantState.CLOSED:
                    for period in periods:
                        await self._ledger.open(
                            Account(tenant_id=tenant.tenant_id, period=str(period), limit=tenant.limit)
                        )
                    opened += 1
            if cursor is None:
                break
        previous = str(current.previous())
        async for lane in self._ledger.lanes(previous):
            if lane == lane.vault:
                await self._ledger.begin_closing(Account(tenant_id=lane.tenant_id, period=previous, limit=Limit(0, 0)))
        return opened
