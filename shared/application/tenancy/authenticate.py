"""Authenticate callers: tenants by their gateway keys, the administrator by the admin key, and access tokens."""

from __future__ import annotations

import hmac
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from typing import Final, TypeAlias, TypeVar

from shared.application.cached_value import FRESH_SECONDS, Cached
from shared.application.ports.clock import Clock
from shared.application.ports.identity import TokenVerifier
from shared.application.ports.tenancy import KeyDirectory, KeyName, TenantDirectory
from shared.application.tenancy.principals import (
    ADMIN_KEY_PRINCIPAL,
    OperatorPrincipal,
    TenantPrincipal,
    TokenPrincipal,
)
from shared.domain.errors import InvalidApiKey, InvalidToken
from shared.domain.identity.access_token import has_form_of_token
from shared.domain.identity.role import Role
from shared.domain.tenancy.keys import GatewayKey, has_form_of_key, parse_gateway_key, secret_digest
from shared.domain.tenancy.lookup_budget import LookupBudget, network_of

_MAX_CACHED_KEYS: Final = 10_000


class BearerCredential(str):
    """A credential in `Authorization: Bearer`. Only there it can be an access token."""

    __slots__ = ()


T = TypeVar("T")
_Known: TypeAlias = tuple[TenantPrincipal, GatewayKey]
_CachedKey: TypeAlias = Cached[_Known | None]


class Authenticate:
    """Resolves credentials to principals. All processes notice a revoked key or a changed tenant within 25 s.

    Outsiders cannot make it look at storage more often than the budget allows. A caller beyond the budget of its source
    is not locked out: its key is compared with a list of all keys that is at most 25 s old.
    """

    def __init__(
        self,
        tenants: TenantDirectory,
        keys: KeyDirectory,
        clock: Clock,
        admin_key: str,
        tokens: TokenVerifier | None = None,
        max_cached_keys: int = _MAX_CACHED_KEYS,
    ) -> None:
        self._max_cached_keys = max_cached_keys
        self._tenants = tenants
        self._keys = keys
        self._clock = clock
        self._tokens = tokens
        self._admin_key_digest = secret_digest(admin_key)
        self._known: OrderedDict[KeyName, _CachedKey] = OrderedDict()
        self._unknown: OrderedDict[KeyName, float] = OrderedDict()
        self._looked_up: dict[KeyName, _CachedKey] = {}
        self._names = Cached(keys.names, clock)
        self._budget = LookupBudget()

    async def identify(
        self, credential: str | None, source: Callable[[], str]
    ) -> TenantPrincipal | OperatorPrincipal | TokenPrincipal:
        """Return the tenant for a gateway key that is in force, the operator for the admin key, and a token's caller.

        `source` returns the caller's network address. It is called only for a key that this process does not know yet.

        Raises `InvalidApiKey` for any other credential, `InvalidToken` for one with the form of a token,
        `IdentityProviderUnavailable`, and `StorageUnavailable`.
        """
        if not credential:
            raise InvalidApiKey
        parsed = parse_gateway_key(credential)
        if parsed is not None:
            tenant_id, key_id, secret = parsed
            name = tenant_id, key_id
            cached = self._known.get(name)
            found = await (self._find(name, credential, source) if cached is None else cached.get())
            if found is not None:
                principal, key = found
                if key.accepts(secret, self._clock.now):
                    return principal
                raise InvalidApiKey
        elif isinstance(credential, BearerCredential) and has_form_of_token(credential):
            return await self._of_token(credential)
        # An unknown key takes a comparison, too, so that ids of keys cannot be found by timing.
        if hmac.compare_digest(secret_digest(credential), self._admin_key_digest):
            return ADMIN_KEY_PRINCIPAL
        raise InvalidApiKey

    async def _of_token(self, token: str) -> TokenPrincipal:
        if self._tokens is None:
            raise InvalidToken("Entra ID is not configured here. Use a gateway key.")
        return TokenPrincipal(await self._tokens.verify(token))

    def forget(self, tenant_id: str) -> None:
        """Load this tenant and its keys again before they are next used, because this process has changed them."""
        for (known_tenant, _), cached in (*self._known.items(), *self._looked_up.items()):
            if known_tenant == tenant_id:
                cached.invalidate()
        for name in [name for name in self._unknown if name[0] == tenant_id]:
            del self._unknown[name]
        self._names.invalidate()

    async def _find(self, name: KeyName, credential: str, source: Callable[[], str]) -> _Known | None:
        """Return a key that this process does not know yet; `None` if it is unknown to storage, too."""
        if not has_form_of_key(credential) or self._clock.monotonic() < self._unknown.get(name, 0.0):
            return None
        cached = self._looked_up.get(name)
        if cached is not None:  # another caller is looking for the same key
            return await cached.get()
        network = network_of(source())
        is_budgeted = self._budget.take(network, self._clock.monotonic())
        if not is_budgeted and name not in await self._names.get():
            return None
        found = await self._look_up(name)
        if found is None:
            _put(self._unknown, name, self._clock.monotonic() + FRESH_SECONDS, self._max_cached_keys)
        elif is_budgeted:
            self._budget.give_back(network)
        return found

    async def _look_up(self, name: KeyName) -> _Known | None:
        """Ask storage for a key. From then on this process knows a key that was found."""
        cached = self._looked_up.setdefault(name, Cached(partial(self._load, *name), self._clock))
        try:
            found = await cached.get()
        finally:
            self._looked_up.pop(name, None)
        if found is not None:
            _put(self._known, name, cached, self._max_cached_keys)
        return found

    async def _load(self, tenant_id: str, key_id: str) -> _Known | None:
        key = await self._keys.get(tenant_id, key_id)
        tenant = await self._tenants.get(tenant_id)
        if tenant is None or key is None:
            return None
        return TenantPrincipal(tenant=tenant.value, key_id=key.key_id, role=Role.TENANT_USE, key=key), key


def _put(cache: OrderedDict[KeyName, T], name: KeyName, found: T, max_size: int) -> None:
    """Remember something about a key. Beyond `max_size` the oldest is forgotten."""
    cache[name] = found
    if len(cache) > max_size:
        cache.popitem(last=False)
