"""List the models that a tenant may call: its deployments, by name."""

from __future__ import annotations

from collections.abc import Sequence

from shared.application.cached_value import Cached
from shared.domain.errors import DeploymentNotFound
from shared.domain.routing.catalog import Catalog
from shared.domain.tenancy.tenant import Tenant


class ListModels:
    """The use case of `GET /openai/v1/models`. A deployment that is not configured is not listed."""

    def __init__(self, catalog: Cached[Catalog]) -> None:
        self._catalog = catalog

    async def __call__(self, tenant: Tenant) -> Sequence[str]:
        """Return the names in ascending order."""
        known = (await self._catalog.get()).deployments
        return sorted(name for name in tenant.deployments if name in known)

    async def one(self, tenant: Tenant, name: str) -> str:
        """Return `name` if the tenant may call it. Raises `DeploymentNotFound`."""
        if name not in await self(tenant):
            raise DeploymentNotFound
        return name
