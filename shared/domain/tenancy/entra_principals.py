"""Principals of Entra ID that a tenant names: applications, people and groups that act for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from shared.domain.identity.access_token import AccessTokenClaims
from shared.domain.identity.role import Role
from shared.domain.values import record, value


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


_NONE: Final[frozenset[Role]] = frozenset()
_USE_ONLY: Final = frozenset({Role.USE})


@value
class NamedRoles:
    """The roles of the principals that a tenant names, found as each request needs them."""

    by_name: Mapping[PrincipalName, frozenset[Role]]
    by_group: Mapping[str, Mapping[str, frozenset[Role]]]
    """The roles of groups, by directory and object id."""


def named_roles(principals: Iterable[EntraPrincipal]) -> NamedRoles:
    """Return the roles of each principal: a tenant may name it several times."""
    by_name: dict[PrincipalName, frozenset[Role]] = {}
    by_group: defaultdict[str, dict[str, frozenset[Role]]] = defaultdict(dict)
    for principal in principals:
        roles = by_name.get(principal.name, _NONE) | {principal.role}
        by_name[principal.name] = roles
        if principal.kind is PrincipalKind.GROUP:
            by_group[principal.directory_id][principal.id] = roles
    return NamedRoles(by_name, dict(by_group))


def own_name(claims: AccessTokenClaims) -> PrincipalName:
    """Return the name of a token's caller itself.

    An application through which a person has signed in is not the caller.
    """
    if claims.is_person:
        return PrincipalName(claims.directory_id, PrincipalKind.PERSON, claims.object_id)
    return PrincipalName(claims.directory_id, PrincipalKind.APPLICATION, claims.application_id)


def roles_in_tenant(claims: AccessTokenClaims, named: NamedRoles) -> frozenset[Role]:
    """Return the roles of a token's caller in a tenant that names these principals.

    - The app role `Gateway.Use` counts for a caller that the tenant names.
    - A token of a legacy audience serves inference only, whatever the tenant names its caller for.
    """
    roles = named.by_name.get(own_name(claims), _NONE)
    if claims.is_legacy_audience:
        return _USE_ONLY if Role.TENANT_USE in roles else _NONE
    if claims.groups:
        of_groups = named.by_group.get(claims.directory_id, {})
        # A token may have 200 groups, and a tenant names few: the shorter one is walked.
        roles = roles.union(*(of_groups[group] for group in of_groups.keys() & claims.groups))
    return roles | _USE_ONLY if roles and Role.USE in claims.roles else roles
