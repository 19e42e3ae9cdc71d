"""Backends, deployments and health hints as documents in the table `backends`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from shared.adapters.documents.audit import AuditedDocuments
from shared.adapters.documents.codec import from_json, to_json
from shared.adapters.documents.health import has_unusable_time
from shared.adapters.documents.store import Document, Documents, key_of, name_of
from shared.application.ports.routing import Hint, StoredHints
from shared.domain.audit.events import AuditEvent
from shared.domain.damaged_row import DamagedRow
from shared.domain.routing.catalog import Backend, Catalog, CatalogName, Deployment

T = TypeVar("T")
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
        deployments = _read(await self._documents.list(_TABLE, partition=_DEPLOYMENTS), Deployment, _name_of)
        backends = _read(await self._documents.list(_TABLE, partition=_BACKENDS), Backend, _id_of)
        damaged: dict[CatalogName, DamagedRow] = {
            ("deployment", name): row for name, row in deployments.items() if isinstance(row, DamagedRow)
        }
        damaged |= {("backend", name): row for name, row in backends.items() if isinstance(row, DamagedRow)}
        return Catalog(
            {name: found for name, found in deployments.items() if isinstance(found, Deployment)},
            {name: found for name, found in backends.items() if isinstance(found, Backend)},
            damaged,
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

    async def load(self) -> StoredHints:
        found = _read(await self._documents.list(_TABLE, partition=_HINTS), Hint, _hinted)
        return StoredHints(
            [hint for hint in found.values() if isinstance(hint, Hint)],
            [row for row in found.values() if isinstance(row, DamagedRow)],
        )

    async def put(self, hint: Hint) -> None:
        await self._documents.put(_TABLE, _HINTS, key_of(hint.backend_id), to_json(hint))


def _read(documents: Sequence[Document], kind: type[T], name: Callable[[T], str]) -> dict[str, T | DamagedRow]:
    """Read documents by their names. One that cannot be read, or that is of another name, is damaged."""
    found: dict[str, T | DamagedRow] = {}
    for document in documents:
        row, known = f"{_TABLE}/{document.partition}/{document.key}", name_of(document.key)
        if key_of(known) != document.key:  # the gateway makes no such key, and the name may be that of another row
            known = row
        try:
            read = from_json(kind, document.text)
        except ValueError:
            found[known] = DamagedRow(row, f"it is no {document.partition}")
        else:
            if key_of(name(read)) != document.key:
                found[known] = DamagedRow(row, "its content belongs to another row")
            elif has_unusable_time(read):
                found[known] = DamagedRow(row, "a time has no zone")
            else:
                found[known] = read
    return found


def _name_of(deployment: Deployment) -> str:
    return deployment.name


def _id_of(backend: Backend) -> str:
    return backend.backend_id


def _hinted(hint: Hint) -> str:
    return hint.backend_id
