"""Principals of Entra ID that a tenant names: applications, people and groups that act for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias

from shared.domain.identity.access_token import AccessTokenClaims
from shared.domain.identity.role import Role
from shared.domain.values import record


class PrincipalKind(StrEnum):
    """The kind of a principal, which tells the claim that names it."""

    APPLICATION = "application"
    """An application that acts by itself, by its client id (`azp` or `appid`)."""
    PERSON = "person"
    """A person who has signed in, by the object id (`oid`)."""
    GROUP = "group"
    """The people and applications of a group, by its object id (`groups`)."""


class PrincipalName(NamedTuple):
    """A principal of a directory."""

    directory_id: str
    kind: PrincipalKind
    id: str


@record
class EntraPrincipal:
    """A principal, and its role in the tenant."""

    directory_id: str
    kind: PrincipalKind
    id: str
    role: Role

    @property
    def name(self) -> PrincipalName:
        return PrincipalName(self.directory_id, self.kind, self.id)


RolesByName: TypeAlias = Mapping[PrincipalName, frozenset[Role]]
_NONE: Final[frozenset[Role]] = frozenset()
_USE_ONLY: Final = frozenset({Role.USE})


def roles_by_name(principals: Iterable[EntraPrincipal]) -> RolesByName:
    """Return the roles of each principal: a tenant may name it several times."""
    roles: defaultdict[PrincipalName, set[Role]] = defaultdict(set)
    for principal in principals:
        roles[principal.name].add(principal.role)
    return {name: frozenset(found) for name, found in roles.items()}


def own_name(claims: AccessTokenClaims) -> PrincipalName:
    """Return the name of a token's caller itself.

    An application through which a person has signed in is not the caller.
    """
    if claims.is_person:
        return PrincipalName(claims.directory_id, PrincipalKind.PERSON, claims.object_id)
    return PrincipalName(claims.directory_id, PrincipalKind.APPLICATION, claims.application_id)


def group_names(claims: AccessTokenClaims) -> Iterator[PrincipalName]:
    """Yield the names of the caller's groups: none for a token of a legacy audience."""
    if not claims.is_legacy_audience:
        for group in claims.groups:
            yield PrincipalName(claims.directory_id, PrincipalKind.GROUP, group)


def roles_in_tenant(claims: AccessTokenClaims, named: RolesByName) -> frozenset[Role]:
    """Return the roles of a token's caller in a tenant that names these principals.

    - The app role `Gateway.Use` counts for a caller that the tenant names.
    - A token of a legacy audience serves inference only, whatever the tenant names its caller for.
    """
    roles = named.get(own_name(claims), _NONE)
    if claims.is_legacy_audience:
        return _USE_ONLY if Role.TENANT_USE in roles else _NONE
    for name in group_names(claims):
        roles |= named.get(name, _NONE)
    return roles | _USE_ONLY if roles and Role.USE in claims.roles else roles
