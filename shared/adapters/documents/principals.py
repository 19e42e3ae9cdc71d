"""The index of principals as documents."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Final

from shared.adapters.documents.store import Documents
from shared.domain.tenancy.entra_principals import PrincipalKind, PrincipalName

_TABLE: Final = "principals"
_SEPARATOR: Final = "|"
_PARTS: Final = 4
_KINDS: Final = frozenset(PrincipalKind)


class DocumentPrincipals:
    """Implements `PrincipalIndex`. The row of an application or person is `{directory}|{kind}|{id}`, `{tenant}`.

    A token names up to 200 groups. So the groups of a directory share a partition, which one query reads: its rows
    are `{directory}|group`, `{group}|{tenant}`.
    """

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def tenants_of(self, name: PrincipalName) -> frozenset[str]:
        found = await self._documents.list(_TABLE, partition=_SEPARATOR.join(name))
        return frozenset(document.key for document in found)

    async def tenants_by_group(self, directory_id: str) -> Mapping[str, frozenset[str]]:
        partition = _SEPARATOR.join((directory_id, PrincipalKind.GROUP))
        tenants: defaultdict[str, set[str]] = defaultdict(set)
        for document in await self._documents.list(_TABLE, partition=partition):
            group, _, tenant_id = document.key.partition(_SEPARATOR)
            tenants[group].add(tenant_id)
        return {group: frozenset(found) for group, found in tenants.items()}

    async def put(self, name: PrincipalName, tenant_id: str) -> None:
        await self._documents.put(_TABLE, *_keys(name, tenant_id), "{}")

    async def remove(self, name: PrincipalName, tenant_id: str) -> None:
        await self._documents.remove(_TABLE, *_keys(name, tenant_id))

    async def rows(self) -> Mapping[str, frozenset[PrincipalName]]:
        names: defaultdict[str, set[PrincipalName]] = defaultdict(set)
        for document in await self._documents.list(_TABLE):
            parts = f"{document.partition}{_SEPARATOR}{document.key}".split(_SEPARATOR)
            if len(parts) == _PARTS and parts[1] in _KINDS:  # no other row leads a caller to a tenant
                directory_id, kind, id_, tenant_id = parts
                names[tenant_id].add(PrincipalName(directory_id, PrincipalKind(kind), id_))
        return {tenant_id: frozenset(found) for tenant_id, found in names.items()}


def _keys(name: PrincipalName, tenant_id: str) -> tuple[str, str]:
    """Return partition and key of a row."""
    parts = (*name, tenant_id)
    of_partition = 2 if name.kind is PrincipalKind.GROUP else 3
    return _SEPARATOR.join(parts[:of_partition]), _SEPARATOR.join(parts[of_partition:])
