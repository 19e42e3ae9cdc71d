"""Authenticate callers: tenants by their gateway keys, the administrator by the admin key, and access tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from shared.application.ports.clock import Clock
from shared.application.ports.identity import TokenVerifier
from shared.application.ports.tenancy import KeyDirectory, KeyName, TenantDirectory
from shared.application.tenancy.admin_key import AdminKey
from shared.application.tenancy.look_ups import MAX_KNOWN, LookUps
from shared.application.tenancy.memberships import Member, Memberships
from shared.application.tenancy.principals import (
    ADMIN_KEY_PRINCIPAL,
    OperatorPrincipal,
    TenantPrincipal,
    TokenPrincipal,
)
from shared.application.tenancy.pseudonymise_users import PseudonymiseUsers
from shared.application.tenancy.watch_keys import WatchKeys
from shared.domain.errors import InvalidApiKey, InvalidToken
from shared.domain.identity.access_token import has_form_of_token
from shared.domain.identity.role import Role
from shared.domain.tenancy.entra_principals import own_name
from shared.domain.tenancy.keys import GatewayKey, KeyScope, has_form_of_key, parse_gateway_key
from shared.domain.tenancy.tenant import Tenant


class BearerCredential(str):
    """A credential in `Authorization: Bearer`. Only there it can be an access token."""

    __slots__ = ()


@dataclass(slots=True)
class _Known:
    """A key that this process has loaded, and its principal."""

    principal: TenantPrincipal
    key: GatewayKey
    is_free: bool = False
    """Its use is noted, and no address range restricts it: later uses need no further look."""


class Authenticate:
    """Resolves credentials to principals. All processes notice a revoked key or a changed tenant within 25 s."""

    def __init__(
        self,
        tenants: TenantDirectory,
        keys: KeyDirectory,
        clock: Clock,
        admin_key: AdminKey,
        watch: WatchKeys,
        tokens: TokenVerifier | None,
        memberships: Memberships,
        users: PseudonymiseUsers,
        max_known: int = MAX_KNOWN,
    ) -> None:
        self._tenants = tenants
        self._keys = keys
        self._clock = clock
        self._tokens = tokens
        self._memberships = memberships
        self._users = users
        self._watch = watch
        self._admin_key = admin_key
        self._look_ups: LookUps[KeyName, _Known] = LookUps(self._load, keys.names, clock, max_known)
        self._known = self._look_ups.known

    async def identify(
        self, credential: str | None, source: Callable[[], str]
    ) -> TenantPrincipal | OperatorPrincipal | TokenPrincipal:
        """Return the tenant for a gateway key that is in force, the operator for the admin key, and a token's caller.

        `source` returns the caller's network address. It is called only for a key that this process does not know yet,
        that has ended, or that may not be used from everywhere.

        Raises `InvalidApiKey` for any other credential, `InvalidToken` for one with the form of a token,
        `IdentityProviderUnavailable`, `StorageUnavailable`, and `SecretUnavailable` if the admin key is not known.
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
                return self._admitted(found, secret, source)
        elif isinstance(credential, BearerCredential) and has_form_of_token(credential):
            return await self._of_token(credential)
        # An unknown key takes a comparison, too, so that ids of keys cannot be found by timing.
        if await self._admin_key.accepts(credential):
            return ADMIN_KEY_PRINCIPAL
        raise InvalidApiKey

    def _admitted(self, known: _Known, secret: str, source: Callable[[], str]) -> TenantPrincipal:
        """Return the caller of a key. Raises `InvalidApiKey` for a wrong secret, an ended key, and a wrong address."""
        if not known.key.has_secret(secret):
            raise InvalidApiKey
        if not known.key.is_in_force(self._clock.now):
            self._watch.note_use_after_end(known.key, source)
            raise InvalidApiKey(known.key.tenant_id, known.key.key_id)
        if not known.is_free:
            known.is_free = self._watch.admit(known.principal.tenant, known.key, source)
        return known.principal

    async def _of_token(self, token: str) -> TokenPrincipal:
        if self._tokens is None:
            raise InvalidToken("Entra ID is not configured here. Use a gateway key.")
        return TokenPrincipal(await self._tokens.verify(token))

    async def member(
        self, caller: TokenPrincipal, wanted: str, source: Callable[[], str], note: Callable[[str], None]
    ) -> Member:
        """Return the tenant `wanted` for which a token's caller acts; the only one of the caller if that is empty.

        Passes its id to `note`. Raises as `Memberships.find` does, and `AddressNotAllowed`. The alert names a person by
        an alias where the tenant asks for that.
        """
        member = await self._memberships.find(caller.claims, wanted, source)
        note(member.tenant.tenant_id)
        if not self._watch.admits_from(member.tenant, source):
            self._watch.refuse_token(member.tenant, await self._holder(caller, member.tenant), source)
        return member

    async def _holder(self, caller: TokenPrincipal, tenant: Tenant) -> str:
        name = own_name(caller.claims).id
        is_aliased = tenant.pseudonymise_users and caller.claims.is_person
        return await self._users.alias(tenant.tenant_id, name) if is_aliased else name

    def forget(self, tenant_id: str) -> None:
        """Load this tenant and its keys again before they are next used, because this process has changed them."""
        self._look_ups.forget(lambda name: name[0] == tenant_id)
        self._memberships.forget(tenant_id)

    async def _find(self, name: KeyName, credential: str, source: Callable[[], str]) -> _Known | None:
        """Return a key that this process does not know yet; `None` if it is unknown to storage, too."""
        return await self._look_ups.find(name, source) if has_form_of_key(credential) else None

    async def _load(self, name: KeyName) -> _Known | None:
        tenant_id, key_id = name
        key = await self._keys.get(tenant_id, key_id)
        tenant = await self._tenants.get(tenant_id)
        if tenant is None or key is None:
            return None
        return _Known(_principal(tenant.value, key.value), key.value)


def _principal(tenant: Tenant, key: GatewayKey) -> TenantPrincipal:
    """Return the caller of a key. Its tenant has only the deployments that the key may call."""
    if key.deployments is not None:
        pools = {name: pool for name, pool in tenant.pools.items() if key.covers(name)}
        tenant = replace(tenant, deployments=tuple(filter(key.covers, tenant.deployments)), pools=pools)
    role = Role.TENANT_USAGE_READ if key.scope is KeyScope.USAGE_READ else Role.TENANT_USE
    return TenantPrincipal(tenant=tenant, key_id=key.key_id, role=role, key=key)
