"""Authenticate callers: tenants by their gateway keys, and the administrator."""

from __future__ import annotations

import hmac
from collections import OrderedDict
from functools import partial
from typing import TypeAlias

from shared.application.cached_value import Cached
from shared.application.ports.clock import Clock
from shared.application.ports.tenancy import KeyDirectory, TenantDirectory
from shared.domain.errors import InvalidApiKey
from shared.domain.tenancy.keys import GatewayKey, parse_gateway_key, secret_digest
from shared.domain.tenancy.tenant import Tenant
from shared.domain.values import value

_MAX_CACHED_KEYS = 10_000
_NO_SECRET = secret_digest("")


@value
class TenantPrincipal:
    """A caller that acts for one tenant and sees only its data."""

    tenant: Tenant
    key_id: str


@value
class AdministratorPrincipal:
    """A caller that may manage everything. `actor` names it in the audit log."""

    actor: str


_Known: TypeAlias = tuple[TenantPrincipal, GatewayKey]


class Authenticate:
    """Resolves credentials to principals. All processes notice a revoked key or a changed tenant within 25 s."""

    def __init__(
        self,
        tenants: TenantDirectory,
        keys: KeyDirectory,
        clock: Clock,
        admin_key: str,
        max_cached_keys: int = _MAX_CACHED_KEYS,
    ) -> None:
        self._max_cached_keys = max_cached_keys
        self._tenants = tenants
        self._keys = keys
        self._clock = clock
        self._admin_key_digest = secret_digest(admin_key) if admin_key else None
        self._known: OrderedDict[tuple[str, str], Cached[_Known | None]] = OrderedDict()

    async def identify(self, credential: str | None) -> TenantPrincipal | AdministratorPrincipal:
        """Return the administrator for the admin key, and the tenant for a gateway key that is in force.

        Raises `InvalidApiKey` for any other credential, and `StorageUnavailable`.
        """
        parsed = parse_gateway_key(credential) if credential else None
        if parsed is None:
            if credential and self._is_admin_key(credential):
                return AdministratorPrincipal("admin-key")
            raise InvalidApiKey
        tenant_id, key_id, secret = parsed
        known = await self._cached(tenant_id, key_id).get()
        if known is None:
            # An unknown key id takes as long as a wrong secret, so that ids cannot be found by timing.
            hmac.compare_digest(secret_digest(secret), _NO_SECRET)
            raise InvalidApiKey
        principal, key = known
        if not key.accepts(secret, self._clock.now):
            raise InvalidApiKey
        return principal

    def forget(self, tenant_id: str) -> None:
        """Load this tenant and its keys again before they are next used, because this process has changed them."""
        for (known_tenant, _), cached in self._known.items():
            if known_tenant == tenant_id:
                cached.invalidate()

    def _is_admin_key(self, credential: str) -> bool:
        digest = self._admin_key_digest
        return digest is not None and hmac.compare_digest(secret_digest(credential), digest)

    def _cached(self, tenant_id: str, key_id: str) -> Cached[_Known | None]:
        cached = self._known.get((tenant_id, key_id))
        if cached is None:
            cached = Cached(partial(self._load, tenant_id, key_id), self._clock)
            self._known[tenant_id, key_id] = cached
            if len(self._known) > self._max_cached_keys:
                self._known.popitem(last=False)
        return cached

    async def _load(self, tenant_id: str, key_id: str) -> _Known | None:
        key = await self._keys.get(tenant_id, key_id)
        tenant = await self._tenants.get(tenant_id)
        return (TenantPrincipal(tenant.value, key.key_id), key) if tenant and key else None
