"""Keep the index of principals in step with the tenants' documents."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

from shared.application.ports.principals import PrincipalIndex
from shared.application.ports.tenancy import TenantDirectory
from shared.application.sweep import Sweep
from shared.application.tenancy.every_tenant import every_tenant
from shared.application.tenancy.memberships import Memberships
from shared.domain.tenancy.entra_principals import PrincipalName
from shared.domain.tenancy.tenant import Tenant
from shared.domain.values import value


class IndexPrincipals:
    """Adds the rows of principals that a changed tenant names anew. `ReconcilePrincipals` removes rows."""

    def __init__(self, index: PrincipalIndex, memberships: Memberships) -> None:
        self._index = index
        self._memberships = memberships

    @asynccontextmanager
    async def __call__(self, before: Tenant | None, after: Tenant) -> AsyncIterator[None]:
        """Add the rows before the block stores the document, so that no document is without rows.

        Adds them again afterwards, because `ReconcilePrincipals` may have removed them in between. Raises
        `StorageUnavailable`.
        """
        names = names_of(after) - (frozenset() if before is None else names_of(before))
        await self._put(names, after.tenant_id)
        yield
        await self._put(names, after.tenant_id)
        self._memberships.forget(after.tenant_id, names)

    async def _put(self, names: Collection[PrincipalName], tenant_id: str) -> None:
        await asyncio.gather(*(self._index.put(name, tenant_id) for name in names))


@value
class _Rows:
    """The rows that a tenant should have, by its document as it was listed, and those that it has."""

    tenant_id: str
    named: frozenset[PrincipalName]
    stored: frozenset[PrincipalName]


class ReconcilePrincipals:
    """Repairs the index of principals by the tenants' documents. The timer `reconcile_limits` runs it.

    Running late, twice or concurrently is harmless: also beside changes of the same tenants.
    """

    def __init__(self, tenants: TenantDirectory, index: PrincipalIndex, sweep: Sweep) -> None:
        self._tenants = tenants
        self._index = index
        self._sweep = sweep

    async def __call__(self) -> int:
        """Return the number of rows that were added or removed. Raises `SweepFailed` as sweeps do."""
        return (await self._sweep("reconcile_principals", self._all(), self._repair, _name)).done

    async def _all(self) -> AsyncIterator[_Rows]:
        """Yield the rows of every tenant, then those of ids that no tenant has."""
        stored = await self._index.rows()
        seen: set[str] = set()
        async for tenant in every_tenant(self._tenants):
            seen.add(tenant.tenant_id)
            yield _Rows(tenant.tenant_id, names_of(tenant), stored.get(tenant.tenant_id, frozenset()))
        for tenant_id in stored.keys() - seen:
            yield _Rows(tenant_id, frozenset(), stored[tenant_id])

    async def _repair(self, rows: _Rows) -> int:
        missing, stale = rows.named - rows.stored, rows.stored - rows.named
        for name in missing:
            await self._index.put(name, rows.tenant_id)
        return len(missing) + (await self._remove(rows.tenant_id, stale) if stale else 0)

    async def _remove(self, tenant_id: str, stale: Collection[PrincipalName]) -> int:
        """Remove rows that the document does not name now. A row that it names by then is added again."""
        removed = frozenset(stale) - await self._named(tenant_id)
        for name in removed:
            await self._index.remove(name, tenant_id)
        restored = removed & await self._named(tenant_id)
        for name in restored:
            await self._index.put(name, tenant_id)
        return len(removed) - len(restored)

    async def _named(self, tenant_id: str) -> frozenset[PrincipalName]:
        found = await self._tenants.get(tenant_id)
        return names_of(found.value) if found is not None else frozenset()


def names_of(tenant: Tenant) -> frozenset[PrincipalName]:
    """Return the names of the principals that a tenant names."""
    return frozenset(each.name for each in tenant.entra_principals)


def _name(rows: _Rows) -> str:
    return rows.tenant_id
