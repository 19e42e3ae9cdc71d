"""The models that a tenant may ask for: its deployments, by the names that its requests use."""

from __future__ import annotations

from collections.abc import Sequence

from shared.application.cached import Cached
from shared.domain.errors import DeploymentNotFound
from shared.domain.routing.catalog import Catalog
from shared.domain.tenancy.tenant import Tenant


class ListModels:
    """What `GET /openai/v1/models` lists. A deployment that does not exist is not there, whoever may call it."""

    def __init__(self, catalog: Cached[Catalog]) -> None:
        self._catalog = catalog

    async def __call__(self, tenant: Tenant) -> Sequence[str]:
        """The names, in order."""
        known = (await self._catalog.get()).deployments
        return sorted(name for name in tenant.deployments if name in known)

    async def one(self, tenant: Tenant, name: str) -> str:
        """A name that the tenant may use. Raises `DeploymentNotFound`."""
        if name not in await self(tenant):
            raise DeploymentNotFound
        return name
