"""Find the tenant for which the caller of an access token acts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Final, TypeAlias

from shared.application.cached_value import Cached
from shared.application.ports.clock import Clock
from shared.application.ports.principals import PrincipalIndex
from shared.application.ports.tenancy import TenantDirectory
from shared.application.tenancy.look_ups import MAX_KNOWN, LookUps
from shared.domain.errors import InsufficientRole, InvalidRequest, TenantsDamaged
from shared.domain.identity.access_token import AccessTokenClaims
from shared.domain.identity.role import Role
from shared.domain.tenancy.entra_principals import (
    NamedRoles,
    PrincipalName,
    named_roles,
    own_name,
    roles_in_tenant,
)
from shared.domain.tenancy.tenant import Tenant, TenantState
from shared.domain.values import value

_TenantsByGroup: TypeAlias = Mapping[str, frozenset[str]]
TENANT_HEADER: Final = "x-gateway-tenant"
_NONE: Final = frozenset[str]()
_NO_TENANT: Final = "No tenant names the caller of the token in its 'entra_principals'."
_NO_GROUPS: Final = "The token names no groups, because the caller has too many: have the caller itself named."
OTHER_TENANT: Final = f"The caller does not belong to the tenant that '{TENANT_HEADER}' or the path names."


@value
class Member:
    """A tenant, and the roles that a caller has in it: at least one."""

    tenant: Tenant
    roles: frozenset[Role]


@value
class _Named:
    """A tenant as it was stored at most 25 s ago, and the roles of those whom it names."""

    tenant: Tenant
    roles: NamedRoles


class Memberships:
    """Finds tenants by an index of principals. The tenant's document decides. Both are at most 25 s old.

    A row of the index without a document that names the principal gives nothing. A document without its rows in the
    index is repaired by `ReconcilePrincipals`.
    """

    def __init__(
        self, tenants: TenantDirectory, index: PrincipalIndex, clock: Clock, max_known: int = MAX_KNOWN
    ) -> None:
        self._tenants = tenants
        self._index = index
        self._clock = clock
        self._max_known = max_known
        self._look_ups: LookUps[PrincipalName, frozenset[str]] = LookUps(self._load, self._names, clock, max_known)
        self._groups: dict[str, Cached[_TenantsByGroup]] = {}
        """By directory; only directories whose tokens are accepted get here."""
        self._named: OrderedDict[str, Cached[_Named | None]] = OrderedDict()

    async def find(self, claims: AccessTokenClaims, wanted: str, source: Callable[[], str]) -> Member:
        """Return the tenant `wanted`, or the only one if that is empty. A closed tenant counts if there is no other.

        Raises `InsufficientRole` if the caller does not belong to it, whether or not it exists. Raises `InvalidRequest`
        for a caller of several tenants who names none, and `TenantsDamaged` if documents of its tenants cannot be read.
        Raises `StorageUnavailable`.
        """
        candidates = await self._candidates(claims, source)
        if wanted:
            member = await self._member(wanted, claims) if wanted in candidates else None
            if member is None:
                raise _refused(OTHER_TENANT, claims)
            return member
        return await self._only(candidates, claims)

    def forget(self, tenant_id: str, names: Collection[PrincipalName] = ()) -> None:
        """Load this tenant again before it is next used, because this process has changed it.

        `names` are the principals that it names now, and did not name before.
        """
        self._named.pop(tenant_id, None)
        if names:
            self._look_ups.forget(lambda name: name in names)
            self._groups.clear()

    async def _candidates(self, claims: AccessTokenClaims, source: Callable[[], str]) -> frozenset[str]:
        """Return the tenants that may name the caller, or a group of the caller."""
        name = own_name(claims)
        cached = self._look_ups.known.get(name)
        found = await (self._look_ups.find(name, source) if cached is None else cached.get()) or _NONE
        if claims.is_legacy_audience or not claims.groups:
            return found
        tenants_by_group = await self._tenants_by_group(claims.directory_id)
        return found.union(*(tenants_by_group[group] for group in tenants_by_group.keys() & claims.groups))

    async def _only(self, candidates: Collection[str], claims: AccessTokenClaims) -> Member:
        open_: list[Member] = []
        closed: list[Member] = []
        damaged: list[str] = []
        for tenant_id in sorted(candidates):
            try:
                member = await self._member(tenant_id, claims)
            except TenantsDamaged:  # nobody knows if it names the caller
                damaged.append(tenant_id)
                continue
            if member is not None:
                (closed if member.tenant.state is TenantState.CLOSED else open_).append(member)
            if len(open_) > 1:
                break
        members = open_ or closed
        if not members:
            raise TenantsDamaged(damaged) if damaged else _refused(_NO_TENANT, claims)
        if len(members) + len(damaged) > 1:
            problem = f"The caller belongs to several tenants. Name one in the header '{TENANT_HEADER}'."
            raise InvalidRequest(problem, TENANT_HEADER)
        return members[0]

    async def _member(self, tenant_id: str, claims: AccessTokenClaims) -> Member | None:
        cached = self._named.get(tenant_id)
        if cached is None:
            cached = self._named[tenant_id] = Cached(partial(self._load_tenant, tenant_id), self._clock)
            if len(self._named) > self._max_known:
                self._named.popitem(last=False)
        named = await cached.get()
        if named is None:
            return None
        roles = roles_in_tenant(claims, named.roles)
        return Member(named.tenant, roles) if roles else None

    async def _tenants_by_group(self, directory_id: str) -> _TenantsByGroup:
        cached = self._groups.get(directory_id)
        if cached is None:
            load = partial(self._index.tenants_by_group, directory_id)
            cached = self._groups[directory_id] = Cached(load, self._clock)
        return await cached.get()

    async def _load(self, name: PrincipalName) -> frozenset[str] | None:
        """Return the tenants with a row for an application or a person; `None` if there are none."""
        return await self._index.tenants_of(name) or None

    async def _names(self) -> frozenset[PrincipalName]:
        return frozenset[PrincipalName]().union(*(await self._index.rows()).values())

    async def _load_tenant(self, tenant_id: str) -> _Named | None:
        found = await self._tenants.get(tenant_id)
        return _Named(found.value, named_roles(found.value.entra_principals)) if found else None


def _refused(problem: str, claims: AccessTokenClaims) -> InsufficientRole:
    """Return the refusal of a caller. It tells of groups that the token could not name, because they may be why."""
    return InsufficientRole(f"{problem} {_NO_GROUPS}" if claims.has_group_overage else problem)
