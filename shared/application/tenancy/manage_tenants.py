"""Register, change and retire tenants."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import replace

from shared.application.audit.record_audit import Actor
from shared.application.ports.clock import Clock
from shared.application.ports.routing import CatalogStore
from shared.application.ports.tenancy import TenantDirectory, TenantPage, Versioned
from shared.application.routing.check_servable import check_tenant
from shared.application.tenancy.apply_limit import ApplyLimit
from shared.application.tenancy.authenticate import Authenticate
from shared.application.tenancy.grant_quota import GrantQuota
from shared.application.tenancy.index_principals import IndexPrincipals
from shared.application.tenancy.privacy_keys import PrivacyKeys
from shared.domain.errors import InvalidRequest, NotFound, VersionConflict
from shared.domain.identifiers import BillingPeriod, new_rid
from shared.domain.ledger.amounts import Amount
from shared.domain.ledger.balance import Account
from shared.domain.tenancy.grant import RequestedGrant, TenantGrant
from shared.domain.tenancy.tenant import Tenant, TenantState


class ManageTenants:
    """Every change is audited and effective in this process at once, in others within 25 s."""

    def __init__(
        self,
        tenants: TenantDirectory,
        catalog: CatalogStore,
        grant_quota: GrantQuota,
        apply_limit: ApplyLimit,
        authenticate: Authenticate,
        index: IndexPrincipals,
        privacy_keys: PrivacyKeys,
        clock: Clock,
    ) -> None:
        self._tenants = tenants
        self._catalog = catalog
        self._grant_quota = grant_quota
        self._apply_limit = apply_limit
        self._authenticate = authenticate
        self._index = index
        self._privacy_keys = privacy_keys
        self._clock = clock

    async def register(self, tenant: Tenant, actor: Actor) -> Versioned[Tenant]:
        """Raises `AlreadyExists`, and `InvalidRequest` where no backend could ever serve what it may call."""
        check_tenant(tenant, await self._catalog.load())
        self._privacy_keys.check(tenant)
        event = actor.event(self._clock.now(), "tenant.register", tenant.tenant_id, after=tenant)
        async with self._index(None, tenant):
            return await self._tenants.insert(tenant, event)

    async def get(self, tenant_id: str) -> Versioned[Tenant]:
        """Raises `NotFound`."""
        found = await self._tenants.get(tenant_id)
        if found is None:
            raise NotFound(f"No tenant '{tenant_id}' is registered.")
        return found

    async def list(self, limit: int, cursor: str | None) -> tuple[TenantPage, str | None]:
        """A page of tenants by id, and the cursor of the next."""
        return await self._tenants.list_readable(limit, cursor)

    async def change(
        self,
        tenant_id: str,
        change: Callable[[Tenant], Tenant],
        etags: Collection[str],
        actor: Actor,
        *,
        action: str = "tenant.change",
        reason: str = "tenant changed",
    ) -> Versioned[Tenant]:
        """Apply `change` to the version that `etags` name; if empty, to the one that is current when it is written.

        A new quota or budget holds for the current and the next period from now on, by an entry with the reason. It
        opens them if they are not open. A change that changes nothing has no event. Raises `NotFound`,
        `VersionConflict`, and `InvalidRequest` where no backend could ever serve what it may call.
        """
        before, after = await self._replace(tenant_id, change, etags, actor, action)
        self._authenticate.forget(tenant_id)
        is_new_limit = after.value.limit != before.value.limit and after.value.state is not TenantState.CLOSED
        await self._apply_limit(tenant_id, actor.name, reason, opens=is_new_limit)
        return after

    async def _replace(
        self, tenant_id: str, change: Callable[[Tenant], Tenant], etags: Collection[str], actor: Actor, action: str
    ) -> tuple[Versioned[Tenant], Versioned[Tenant]]:
        while True:
            before = await self.get(tenant_id)
            _require_version(before, etags)
            after = change(before.value)
            if after == before.value:
                return before, before
            if after.privacy_settings != before.value.privacy_settings:
                self._privacy_keys.check(after)
            if after.routed_settings != before.value.routed_settings:
                check_tenant(after, await self._catalog.load(), before.value)
            event = actor.event(self._clock.now(), action, tenant_id, before=before.value, after=after)
            with suppress(VersionConflict):  # the next round refuses a change of a named version
                async with self._index(before.value, after):
                    return before, await self._tenants.replace(after, before.etag, event)

    async def grant(
        self,
        tenant_id: str,
        amount: Amount,
        actor: Actor,
        *,
        reason: str,
        period: str | None = None,
        grant_id: str | None = None,
    ) -> TenantGrant:
        """Raise the limit of the current period, or of the next, by an entry; an id is granted once in a period.

        Without an id it gets a new one. Raises `NotFound`, `InvalidRequest`, `PeriodNotOpen`, and `AlreadyExists` for
        an id that was granted with another amount. After `StorageUnavailable` or `LedgerUnavailable` the grant may be
        booked later.
        """
        tenant = (await self.get(tenant_id)).value
        named = self._grantable(tenant, period)
        if amount == Amount():
            raise InvalidRequest("Name 'tokens' or 'usd' to grant.", "tokens")
        account = Account(tenant_id=tenant_id, period=named, limit=tenant.limit)
        requested = RequestedGrant(
            tenant_id=tenant_id,
            period=named,
            grant_id=grant_id or new_rid(),
            tokens=amount.tokens,
            pusd=amount.pusd,
            actor=actor.name,
            reason=reason,
            requested_at=self._clock.now(),
        )
        limit = await self._grant_quota(account, requested, actor)
        return TenantGrant(period=named, grant_id=requested.grant_id, amount=amount, reason=reason, limit=limit)

    def _grantable(self, tenant: Tenant, period: str | None) -> str:
        """Return the period, by default the current one.

        Raises `InvalidRequest` for any but that and the next, and for one before the tenant existed.
        """
        current = BillingPeriod.containing(self._clock.now())
        named = current if period is None else BillingPeriod.parse(period)
        if named not in (current, current.next()):
            raise InvalidRequest(f"'period' must be {current} or {current.next()}.", "period")
        if named < BillingPeriod.containing(tenant.created_at):
            raise InvalidRequest(f"The tenant did not exist in {named}.", "period")
        return str(named)

    async def suspend(self, tenant_id: str, etags: Collection[str], actor: Actor) -> Versioned[Tenant]:
        """Refuse the tenant's requests until it is resumed."""
        return await self._set_state(tenant_id, TenantState.SUSPENDED, etags, actor, "tenant.suspend")

    async def resume(self, tenant_id: str, etags: Collection[str], actor: Actor) -> Versioned[Tenant]:
        """Serve a suspended tenant again."""
        return await self._set_state(tenant_id, TenantState.ACTIVE, etags, actor, "tenant.resume")

    async def close(self, tenant_id: str, etags: Collection[str], actor: Actor) -> Versioned[Tenant]:
        """Refuse the tenant's requests for good; its records stay."""
        return await self._set_state(tenant_id, TenantState.CLOSED, etags, actor, "tenant.close")

    async def _set_state(
        self, tenant_id: str, state: TenantState, etags: Collection[str], actor: Actor, action: str
    ) -> Versioned[Tenant]:
        tenant = await self.get(tenant_id)
        _require_version(tenant, etags)
        if tenant.value.state is TenantState.CLOSED and state is not TenantState.CLOSED:
            raise InvalidRequest("A closed tenant stays closed.", "state")
        return await self.change(
            tenant_id, lambda current: replace(current, state=state), (tenant.etag,), actor, action=action
        )


def _require_version(tenant: Versioned[Tenant], etags: Collection[str]) -> None:
    """Raise `VersionConflict` if `etags` name other versions only."""
    if etags and tenant.etag not in etags:
        raise VersionConflict
