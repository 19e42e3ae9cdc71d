"""Backends, deployments and hints as documents."""

from __future__ import annotations

from collections.abc import Sequence

from shared.adapters.documents.codec import _read, _text
from shared.adapters.documents.store import Documents, key_of
from shared.application.ports.routing import Hint
from shared.domain.routing.catalog import Backend, Catalog, Deployment

_BACKENDS = "backend"

_DEPLOYMENTS = "deployment"

_HINTS = "hint"


class DocumentCatalog:
    """Implements `CatalogStore`."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def load(self) -> Catalog:
        deployments = [
            _read(Deployment, document.text)
            for document in await self._documents.list("backends", partition=_DEPLOYMENTS)
        ]
        backends = [
            _read(Backend, document.text) for document in await self._documents.list("backends", partition=_BACKENDS)
        ]
        return Catalog(
            {deployment.name: deployment for deployment in deployments},
            {backend.backend_id: backend for backend in backends},
        )

    async def put_backend(self, backend: Backend) -> None:
        await self._documents.put("backends", _BACKENDS, key_of(backend.backend_id), _text(backend))

    async def remove_backend(self, backend_id: str) -> None:
        await self._documents.remove("backends", _BACKENDS, key_of(backend_id))

    async def put_deployment(self, deployment: Deployment) -> None:
        await self._documents.put("backends", _DEPLOYMENTS, key_of(deployment.name), _text(deployment))


class DocumentHints:
    """Implements `HintStore`."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def load(self) -> Sequence[Hint]:
        return [_read(Hint, document.text) for document in await self._documents.list("backends", partition=_HINTS)]

    async def put(self, hint: Hint) -> None:
        await self._documents.put("backends", _HINTS, key_of(hint.backend_id), _text(hint))
