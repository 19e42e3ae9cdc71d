"""Backends, deployments and health hints as documents in the table `backends`."""

from __future__ import annotations

from collections.abc import Sequence

from shared.adapters.documents.codec import from_json, to_document, to_json
from shared.adapters.documents.store import Documents, key_of
from shared.application.ports.routing import Hint
from shared.domain.routing.catalog import Backend, Catalog, Deployment

_TABLE = "backends"
_BACKENDS = "backend"
_DEPLOYMENTS = "deployment"
_HINTS = "hint"


class DocumentCatalog:
    """Implements `CatalogStore`."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

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

    async def put_backend(self, backend: Backend) -> None:
        await self._documents.put(_TABLE, _BACKENDS, key_of(backend.backend_id), to_document(backend))

    async def remove_backend(self, backend_id: str) -> None:
        await self._documents.remove(_TABLE, _BACKENDS, key_of(backend_id))

    async def put_deployment(self, deployment: Deployment) -> None:
        await self._documents.put(_TABLE, _DEPLOYMENTS, key_of(deployment.name), to_document(deployment))


class DocumentHints:
    """Implements `HintStore`."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def load(self) -> Sequence[Hint]:
        return [from_json(Hint, document.text) for document in await self._documents.list(_TABLE, partition=_HINTS)]

    async def put(self, hint: Hint) -> None:
        await self._documents.put(_TABLE, _HINTS, key_of(hint.backend_id), to_json(hint))
