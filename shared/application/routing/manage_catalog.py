"""Manage backends and deployments."""

from __future__ import annotations

from collections.abc import Container, Sequence
from contextlib import suppress
from dataclasses import replace

from shared.application.audit.record_audit import Actor
from shared.application.cached_value import Cached
from shared.application.ports.clock import Clock
from shared.application.ports.routing import CatalogStore
from shared.application.ports.tenancy import TenantDirectory
from shared.application.routing.check_servable import check_catalog, users_of
from shared.domain.audit.events import AuditEvent
from shared.domain.errors import InvalidRequest, NotFound, VersionConflict
from shared.domain.routing.backend_rules import BackendRules
from shared.domain.routing.catalog import Backend, Catalog, Deployment
from shared.domain.values import ValueObject


class ManageCatalog:
    """The use cases of `/manage/backends` and `/manage/deployments`.

    - Each change is stored together with its audit event; one that changes nothing has none.
    - It takes effect in this process at once, in others within 25 s.
    - `rules` limit the hosts of backends, so that the management API cannot make the gateway call others.
    - All methods raise `StorageUnavailable`; those of one object raise `RowsDamaged` if its row is damaged.
    """

    def __init__(
        self,
        store: CatalogStore,
        catalog: Cached[Catalog],
        tenants: TenantDirectory,
        clock: Clock,
        rules: BackendRules,
    ) -> None:
        self._store = store
        self._catalog = catalog
        self._tenants = tenants
        self._clock = clock
        self._rules = rules

    async def load(self) -> Catalog:
        """Return all backends and deployments as stored now."""
        return await self._store.load()

    async def backend(self, backend_id: str) -> Backend:
        """Return a backend as stored now. Raises `NotFound`, and `RowsDamaged`."""
        found = (await self.load()).backend(backend_id)
        if found is None:
            raise NotFound(f"No backend '{backend_id}' is configured.")
        return found

    async def deployment(self, name: str) -> Deployment:
        """Return a deployment as stored now. Raises `NotFound`, and `RowsDamaged`."""
        found = (await self.load()).deployment(name)
        if found is None:
            raise NotFound(f"No deployment '{name}' is configured.")
        return found

    async def put_backend(self, backend: Backend, actor: Actor) -> Backend:
        """Insert or replace a backend, and return it as stored. Idempotent. Fills in the zone of a known region.

        Raises `InvalidRequest` in these cases:

        - The endpoint is not allowed, or a value is not known.
        - SKU, region and zone contradict each other.
        - A tenant could no longer be served.
        """
        while True:
            catalog = await self.load()
            before = catalog.backend(backend.backend_id)
            checked = self._rules.checked(backend, before)
            if checked == before:
                return checked
            after = replace(catalog, backends={**catalog.backends, backend.backend_id: checked})
            await check_catalog(catalog, after, self._tenants, "weight" if checked.weight == 0 else "region")
            with suppress(VersionConflict):  # another change came between: the next round is made after it
                event = self._event(actor, "backend.put", backend.backend_id, before, checked)
                await self._store.put_backend(checked, event)
                self._catalog.invalidate()
                return checked

    async def remove_backend(self, backend_id: str, actor: Actor) -> None:
        """Remove a backend. Raises `NotFound`, and `InvalidRequest` while a deployment or a tenant names it."""
        while True:
            catalog, before = await self.load(), await self.backend(backend_id)
            users = await users_of(backend_id, catalog, self._tenants)
            if users:
                raise InvalidRequest(f"The backend '{backend_id}' is in use by {', '.join(users[:5])}.", "backend")
            with suppress(VersionConflict):
                await self._store.remove_backend(
                    backend_id, self._event(actor, "backend.remove", backend_id, before, None)
                )
                self._catalog.invalidate()
                return

    async def put_deployment(self, deployment: Deployment, actor: Actor) -> Deployment:
        """Insert or replace a deployment, and return it. Idempotent.

        Raises `InvalidRequest` if a backend or fallback does not exist, or a tenant could no longer be served.
        """
        if deployment.name in deployment.fallbacks:
            raise InvalidRequest("A deployment cannot fall back on itself.", "fallbacks")
        while True:
            catalog = await self.load()
            before = catalog.deployment(deployment.name)
            if deployment == before:
                return deployment
            await self._check_deployment(deployment, catalog)
            with suppress(VersionConflict):
                event = self._event(actor, "deployment.put", deployment.name, before, deployment)
                await self._store.put_deployment(deployment, event)
                self._catalog.invalidate()
                return deployment

    async def _check_deployment(self, deployment: Deployment, catalog: Catalog) -> None:
        catalog.require_sound("backend", *deployment.backends)
        catalog.require_sound("deployment", *deployment.fallbacks)
        _require_known("backend", deployment.backends, catalog.backends)
        _require_known("deployment", deployment.fallbacks, catalog.deployments)
        after = replace(catalog, deployments={**catalog.deployments, deployment.name: deployment})
        await check_catalog(catalog, after, self._tenants, "backends")

    def _event(
        self, actor: Actor, action: str, name: str, before: ValueObject | None, after: ValueObject | None
    ) -> AuditEvent:
        return actor.event(self._clock.now(), action, name, before=before, after=after)


def _require_known(kind: str, names: Sequence[str], known: Container[str]) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        param = "backends" if kind == "backend" else "fallbacks"
        raise InvalidRequest(f"No {kind} '{unknown[0]}' is configured.", param)
