"""Register, change and retire tenants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from shared.application.audit.record_audit import Actor, RecordAudit
from shared.application.ports.clock import Clock
from shared.application.ports.ledger import Ledger
from shared.application.ports.routing import CatalogStore
from shared.application.ports.tenancy import TenantDirectory, Versioned
from shared.application.routing.check_servable import check_tenant
from shared.application.tenancy.authenticate import Authenticate
from shared.domain.errors import InvalidRequest, NotFound, VersionConflict
from shared.domain.identifiers import BillingPeriod, new_rid
from shared.domain.ledger.amounts import Amount
from shared.domain.ledger.balance import Account, Balance, Lane, LaneState
from shared.domain.pricing.money import usd
from shared.domain.tenancy.tenant import Tenant, TenantState

ANY_VERSION = "*"
_ROUTED = frozenset({"deployments", "residency", "pools"})


class ManageTenants:
    """Every change is audited and effective in this process at once, in others within 25 s."""

    def __init__(
        self,
        tenants: TenantDirectory,
        catalog: CatalogStore,
        ledger: Ledger,
        authenticate: Authenticate,
        audit: RecordAudit,
        clock: Clock,
    ) -> None:
        self._tenants = tenants
        self._catalog = catalog
        self._ledger = ledger
        self._authenticate = authenticate
        self._audit = audit
        self._clock = clock

    async def register(self, tenant: Tenant, actor: Actor) -> Versioned[Tenant]:
        """Raises `AlreadyExists`, and `InvalidRequest` where no backend could ever serve what it may call."""
        check_tenant(tenant, await self._catalog.load())
        stored = await self._tenants.insert(tenant)
        await self._audit(actor, "tenant.register", tenant.tenant_id, after=asdict(tenant))
        return stored

    async def get(self, tenant_id: str) -> Versioned[Tenant]:
        """Raises `NotFound`."""
        found = await self._tenants.get(tenant_id)
        if found is None:
            raise NotFound(f"No tenant '{tenant_id}' is registered.")
        return found

    async def list(self, limit: int, cursor: str | None) -> tuple[list[Versioned[Tenant]], str | None]:
        """A page of tenants by id, and the cursor of the next."""
        return await self._tenants.list(limit, cursor)

    async def change(
        self,
        tenant_id: str,
        changes: Mapping[str, Any],
        etag: str,
        actor: Actor,
        *,
        action: str = "tenant.change",
        reason: str = "",
    ) -> Versioned[Tenant]:
        """Replace the named fields of the version `etag` (`*`: of whichever is current when they are written).

        A new quota or budget holds for the open periods from now on, by an entry with the reason. Raises `NotFound`,
        `VersionConflict`, and `InvalidRequest` where no backend could ever serve what it may call.
        """
        before, after = await self._replace(tenant_id, changes, etag)
        self._authenticate.forget(tenant_id)
        await self._apply_limit(after.value, actor, reason)
        await self._audit(actor, action, tenant_id, before=asdict(before.value), after=asdict(after.value))
        return after

    async def _replace(
        self, tenant_id: str, changes: Mapping[str, Any], etag: str
    ) -> tuple[Versioned[Tenant], Versioned[Tenant]]:
        catalog = None if _ROUTED.isdisjoint(changes) else await self._catalog.load()
        while True:
            before = await self.get(tenant_id)
            changed = replace(before.value, **changes)
            if catalog is not None:
                check_tenant(changed, catalog)
            try:
                return before, await self._tenants.replace(changed, before.etag if etag == ANY_VERSION else etag)
            except VersionConflict:
                if etag != ANY_VERSION:
                    raise

    async def grant(
        self, tenant_id: str, period: str | None, grant_id: str | None, amount: Amount, reason: str, actor: Actor
    ) -> tuple[str, str, Balance]:
        """Raise the limit of the current period, or of the next, by an entry; an id is granted once in a period.

        Returns the period, the id and the balance after it. Raises `NotFound`, `InvalidRequest`, `PeriodNotOpen`.
        """
        tenant = (await self.get(tenant_id)).value
        current = BillingPeriod.containing(self._clock.now())
        named = current if period is None else BillingPeriod.parse(period)
        if named not in (current, current.next()):
            raise InvalidRequest(f"'period' must be {current} or {current.next()}.", "period")
        if amount == Amount():
            raise InvalidRequest("Name 'tokens' or 'usd' to grant.", "tokens")
        account, chosen = Account(tenant_id=tenant_id, period=str(named), limit=tenant.limit), grant_id or new_rid()
        balance = await self._ledger.grant(account, chosen, amount, actor.name, reason)
        granted = {"period": str(named), "grant_id": chosen, "tokens": amount.tokens, "usd": usd(amount.pusd)}
        await self._audit(actor, "tenant.grant", tenant_id, after=granted | {"reason": reason})
        return str(named), chosen, balance

    async def suspend(self, tenant_id: str, actor: Actor) -> Versioned[Tenant]:
        """Refuse the tenant's requests until it is resumed."""
        return await self._move(tenant_id, TenantState.SUSPENDED, actor, "tenant.suspend")

    async def resume(self, tenant_id: str, actor: Actor) -> Versioned[Tenant]:
        """Serve a suspended tenant again."""
        return await self._move(tenant_id, TenantState.ACTIVE, actor, "tenant.resume")

    async def close(self, tenant_id: str, actor: Actor) -> Versioned[Tenant]:
        """Refuse the tenant's requests for good; its records stay."""
        return await self._move(tenant_id, TenantState.CLOSED, actor, "tenant.close")

    async def _move(self, tenant_id: str, state: TenantState, actor: Actor, action: str) -> Versioned[Tenant]:
        tenant = await self.get(tenant_id)
        if tenant.value.state is TenantState.CLOSED and state is not TenantState.CLOSED:
            raise InvalidRequest("A closed tenant stays closed.", "state")
        return await self.change(tenant_id, {"state": state}, tenant.etag, actor, action=action)

    async def _apply_limit(self, tenant: Tenant, actor: Actor, reason: str) -> None:
        current = BillingPeriod.containing(self._clock.now())
        for period in (str(current), str(current.next())):
            balance = await self._ledger.balance(Lane(tenant.tenant_id, period))
            if balance is None or balance.state is not LaneState.OPEN:
                continue
            if balance.limit != tenant.limit.plus(balance.granted):
                account = Account(tenant_id=tenant.tenant_id, period=period, limit=tenant.limit)
                await self._ledger.change_limit(account, actor.name, reason)
