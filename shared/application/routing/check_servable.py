"""Refuse a configuration under which a tenant could never be served."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence

from shared.application.ports.tenancy import TenantDirectory
from shared.domain.errors import InvalidRequest
from shared.domain.routing.catalog import Catalog
from shared.domain.tenancy.tenant import Tenant, TenantState

_PAGE = 500
_MAX_LISTED = 5


def check_tenant(tenant: Tenant, catalog: Catalog, before: Tenant | None = None) -> None:
    """Check the settings of one tenant against the catalog.

    - Raises `InvalidRequest` if a deployment of the tenant could never serve it.
    - Raises `InvalidRequest` if its `pools` name a backend or deployment that it cannot use.
    - Raises `InvalidRequest` if a deployment does not exist, unless the tenant could call it `before`.
    - Raises `RowsDamaged` if the row of such a deployment or backend is damaged.
    """
    named = before.deployments if before else ()
    missing = [name for name in tenant.deployments if name not in catalog.deployments and name not in named]
    catalog.require_sound("deployment", *missing)
    if missing:
        raise InvalidRequest(f"Not configured: {_quoted(missing)}. Configure a deployment first.", "deployments")
    for name, backend_ids in tenant.pools.items():
        unknown = [backend_id for backend_id in backend_ids if backend_id not in catalog.backends]
        if name not in tenant.deployments:
            raise InvalidRequest(f"'pools' names '{name}', which is not among the tenant's deployments.", "pools")
        catalog.require_sound("backend", *unknown)
        if unknown:
            raise InvalidRequest(f"No backend '{unknown[0]}' is configured.", "pools")
    for name, obstacle in _obstacles(tenant, catalog, tenant.deployments):
        catalog.require_sound_pool(catalog.deployments[name], tenant.pools.get(name))
        param = "pools" if name in tenant.pools else "residency"
        raise InvalidRequest(f"The deployment '{name}' could never serve this tenant: {obstacle}.", param)


async def check_catalog(before: Catalog, after: Catalog, tenants: TenantDirectory, param: str) -> None:
    """Check a change of the catalog against all tenants that are not closed.

    - Raises `InvalidRequest`, with `param`, if a deployment could no longer serve a tenant that it served before.
    - A new deployment must be able to serve all tenants that may call it.
    """
    async for tenant in _open_tenants(tenants):
        for name, obstacle in _obstacles(tenant, after, tenant.deployments):
            known = before.deployments.get(name)
            if known is None or before.obstacle(known, tenant.residency, tenant.pools.get(name)) is None:
                raise InvalidRequest(
                    f"The deployment '{name}' could no longer serve the tenant '{tenant.tenant_id}': {obstacle}.", param
                )


async def users_of(backend_id: str, catalog: Catalog, tenants: TenantDirectory) -> list[str]:
    """List the users of a backend: deployments, and tenants whose pools name it.

    Raises `RowsDamaged` if the row of a deployment or a tenant is damaged, which may be one of them.
    """
    catalog.require_sound("deployment", *(name for kind, name in catalog.damaged if kind == "deployment"))
    users = [f"deployment '{each.name}'" for each in catalog.deployments.values() if backend_id in each.backends]
    return users + [
        f"tenant '{tenant.tenant_id}'"
        async for tenant in _open_tenants(tenants)
        if any(backend_id in pool for pool in tenant.pools.values())
    ]


def _quoted(names: Sequence[str]) -> str:
    """List names in a message, the first five of many."""
    listed = ", ".join(f"'{name}'" for name in names[:_MAX_LISTED])
    return f"{listed} and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else listed


def _obstacles(tenant: Tenant, catalog: Catalog, names: Iterable[str]) -> Iterable[tuple[str, str]]:
    for name in names:
        deployment = catalog.deployments.get(name)
        if deployment is not None:
            obstacle = catalog.obstacle(deployment, tenant.residency, tenant.pools.get(name))
            if obstacle is not None:
                yield name, obstacle


async def _open_tenants(tenants: TenantDirectory) -> AsyncIterator[Tenant]:
    cursor: str | None = None
    while True:
        page, cursor = await tenants.list(_PAGE, cursor)
        for tenant in page:
            if tenant.value.state is not TenantState.CLOSED:
                yield tenant.value
        if cursor is None:
            return
