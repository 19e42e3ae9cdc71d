"""Create the first backend and deployment from the environment."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from shared.application.audit.record_audit import Actor
from shared.application.ports.clock import Clock
from shared.application.ports.pricing import PriceStore
from shared.application.ports.routing import CatalogStore
from shared.application.ports.tenancy import TenantDirectory
from shared.application.routing.check_servable import check_catalog
from shared.domain.errors import VersionConflict
from shared.domain.routing.backend_rules import BackendRules
from shared.domain.routing.catalog import Backend, Catalog, Deployment

logger = logging.getLogger("tallygate")
ENVIRONMENT: Final = Actor(name="environment", reason="AZURE_OPENAI_ENDPOINT")


class BootstrapCatalog:
    """Creates a backend and its deployment while there is no backend at all. It never replaces anything.

    Of several processes that do it at once, one creates each of the two, and records it in the audit log.
    """

    def __init__(
        self, store: CatalogStore, tenants: TenantDirectory, prices: PriceStore, clock: Clock, rules: BackendRules
    ) -> None:
        self._store = store
        self._tenants = tenants
        self._prices = prices
        self._clock = clock
        self._rules = rules

    async def __call__(self, define: Callable[[], tuple[Backend, Deployment]]) -> None:
        """Create what `define` returns, which is called only if there is no backend.

        Raises `StorageUnavailable`, and `InvalidRequest` for what the management API would refuse.
        """
        catalog = await self._store.load()
        if catalog.backends or catalog.damaged:
            return
        backend, deployment = define()
        backend = self._rules.checked(backend, None)
        await check_catalog(catalog, _with(catalog, backend, deployment), self._tenants, "region")
        # The deployment comes first: once there is a backend, nobody completes what is missing.
        if deployment.name not in catalog.deployments:
            with suppress(VersionConflict):  # another process was first
                event = ENVIRONMENT.event(self._clock.now(), "deployment.put", deployment.name, after=deployment)
                await self._store.put_deployment(deployment, event)
        event = ENVIRONMENT.event(self._clock.now(), "backend.put", backend.backend_id, after=backend)
        try:
            await self._store.put_backend(backend, event)
        except VersionConflict:
            return
        logger.warning("the backend and the deployment '%s' were created from the settings", backend.backend_id)
        await self._tell_missing_price(backend)

    async def _tell_missing_price(self, backend: Backend) -> None:
        if all(price.model != backend.model for price in (await self._prices.load()).readable):
            logger.warning("the model '%s' has no price, so its requests get 424: POST /manage/prices", backend.model)


def _with(catalog: Catalog, backend: Backend, deployment: Deployment) -> Catalog:
    deployments = {deployment.name: deployment, **catalog.deployments}
    return replace(catalog, deployments=deployments, backends={backend.backend_id: backend})
