"""Make the limit in the books that of the tenant's document: both state one fact."""

from __future__ import annotations

from shared.application.ports.clock import Clock
from shared.application.ports.ledger import Ledger
from shared.application.ports.tenancy import TenantDirectory
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.amounts import Limit
from shared.domain.ledger.balance import Account, LaneState


class ApplyLimit:
    """Applies a tenant's quota and budget to the current and the next period. Idempotent.

    Two changes may be applied in another order than they were stored: a process may be frozen in between. So the
    document is read again after its limit was applied, until it has not changed.
    """

    def __init__(self, tenants: TenantDirectory, ledger: Ledger, clock: Clock) -> None:
        self._tenants = tenants
        self._ledger = ledger
        self._clock = clock

    async def __call__(self, tenant_id: str, actor: str, reason: str, *, opens: bool) -> int:
        """Write a limit entry in each open period whose limit is another. Returns the number of corrected periods.

        `opens` opens a period that is not open: another process may otherwise open it under an older limit that it
        has cached. Raises `StorageUnavailable` and `LedgerUnavailable`.
        """
        current = BillingPeriod.containing(self._clock.now())
        corrected = 0
        for period in (str(current), str(current.next())):
            applied: Limit | None = None
            while (tenant := await self._tenants.get(tenant_id)) is not None and tenant.value.limit != applied:
                applied = tenant.value.limit
                account = Account(tenant_id=tenant_id, period=period, limit=applied)
                if opens:
                    await self._ledger.open(account)
                corrected += await self._correct(account, actor, reason)
        return corrected

    async def _correct(self, account: Account, actor: str, reason: str) -> bool:
        """Change the limit of a period if it is open and has another. Returns whether that was necessary."""
        if await self.is_right(account):
            return False
        await self._ledger.change_limit(account, actor, reason)
        return True

    async def is_right(self, account: Account) -> bool:
        """Return whether the period has the account's limit, with its grants. True for one that is not open."""
        balance = await self._ledger.balance(account.vault)
        return (
            balance is None
            or balance.state is not LaneState.OPEN
            or balance.limit == account.limit.plus(balance.granted)
        )
