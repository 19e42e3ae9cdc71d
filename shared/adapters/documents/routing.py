"""Backends, deployments and health hints as documents in the table `backends`."""

from __future__ import annotations

from collections.abc import Sequence

from shared.adapters.documents.audit import AuditedDocuments
from shared.adapters.documents.codec import from_json, to_json
from shared.adapters.documents.store import Documents, key_of
from shared.application.ports.routing import Hint
from shared.domain.audit.events import AuditEvent
from shared.domain.routing.catalog import Backend, Catalog, Deployment

_TABLE = "backends"
_BACKENDS = "backend"
_DEPLOYMENTS = "deployment"
_HINTS = "hint"


class DocumentCatalog:
    """Implements `CatalogStore`."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._audited = AuditedDocuments(documents)

    async def load(self) -> Catalog:
        deployments = [
            from_json(Deployment, document.text)
            for document in await self._documents.list(_TABLE, partition=_DEPLOYMENTS)
        ]
        backends = [
            from_json(Backend, document.text) for document in await self._documents.list(_TABLE, partition=_BACKENDS)
        ]
        return Catalog(
            {deployment.name: deployment for deployment in deployments},
            {backend.backend_id: backend for backend in backends},
        )

    async def put_backend(self, backend: Backend, event: AuditEvent) -> None:
        await self._audited.put(_TABLE, _BACKENDS, key_of(backend.backend_id), backend, event)

    async def remove_backend(self, backend_id: str, event: AuditEvent) -> None:
        found = await self._audited.found(_TABLE, _BACKENDS, key_of(backend_id), Backend, event)
        if found is not None:
            await self._audited.remove(_TABLE, found, event)

    async def put_deployment(self, deployment: Deployment, event: AuditEvent) -> None:
        await self._audited.put(_TABLE, _DEPLOYMENTS, key_of(deployment.name), deployment, event)


class DocumentHints:
    """Implements `HintStore`."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def load(self) -> Sequence[Hint]:
        return [from_json(Hint, document.text) for document in await self._documents.list(_TABLE, partition=_HINTS)]

    async def put(self, hint: Hint) -> None:
        await self._documents.put(_TABLE, _HINTS, key_of(hint.backend_id), to_json(hint))
