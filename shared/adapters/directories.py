"""Tenants, keys, backends, deployments, prices and audit events as documents.

To add a field, add it to the domain object: documents are read and written by its types.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any, TypeVar

from pydantic import TypeAdapter

from shared.adapters.documents import Documents, key_of
from shared.application.ports import Hint, Versioned
from shared.domain.audit import AuditEvent
from shared.domain.errors import AlreadyExists
from shared.domain.pricing import Price
from shared.domain.routing import Backend, Catalog, Deployment
from shared.domain.tenancy import GatewayKey, Tenant

T = TypeVar("T")

_TENANT_KEY = "tenant"
_BACKENDS = "backend"
_DEPLOYMENTS = "deployment"
_HINTS = "hint"


_adapters: dict[Any, TypeAdapter[Any]] = {}


def _adapter(kind: Any) -> TypeAdapter[Any]:
    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]


def _text(value: object) -> str:
    return _adapter(type(value)).dump_json(value).decode()


def _read(kind: type[T], text: str) -> T:
    value: T = _adapter(kind).validate_json(text)
    return value


class DocumentTenants:
    """Implements `TenantDirectory`."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def get(self, tenant_id: str) -> Versioned[Tenant] | None:
        document = await self._documents.get("tenants", tenant_id, _TENANT_KEY)
        return Versioned(_read(Tenant, document.text), document.etag) if document else None

    async def insert(self, tenant: Tenant) -> Versioned[Tenant]:
        etag = await self._documents.insert("tenants", tenant.tenant_id, _TENANT_KEY, _text(tenant))
        return Versioned(tenant, etag)

    async def replace(self, tenant: Tenant, etag: str) -> Versioned[Tenant]:
        new_etag = await self._documents.replace("tenants", tenant.tenant_id, _TENANT_KEY, _text(tenant), etag)
        return Versioned(tenant, new_etag)

    async def list(self, limit: int, cursor: str | None) -> tuple[list[Versioned[Tenant]], str | None]:
        found = await self._documents.list("tenants", after=cursor or "", limit=limit + 1)
        page = [Versioned(_read(Tenant, document.text), document.etag) for document in found[:limit]]
        return page, page[-1].value.tenant_id if len(found) > limit else None


class DocumentKeys:
    """Implements `KeyDirectory`."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def get(self, tenant_id: str, key_id: str) -> GatewayKey | None:
        document = await self._documents.get("credentials", tenant_id, key_of(key_id))
        return _read(GatewayKey, document.text) if document else None

    async def insert(self, key: GatewayKey) -> None:
        await self._documents.insert("credentials", key.tenant_id, key_of(key.key_id), _text(key))

    async def replace(self, key: GatewayKey) -> None:
        await self._documents.replace("credentials", key.tenant_id, key_of(key.key_id), _text(key), "*")

    async def list(self, tenant_id: str) -> Sequence[GatewayKey]:
        found = await self._documents.list("credentials", partition=tenant_id)
        return [_read(GatewayKey, document.text) for document in found]


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


class DocumentPrices:
    """Implements `PriceStore`. A row's key is derived from its content: writing it again changes nothing."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def load(self) -> Sequence[Price]:
        return [_read(Price, document.text) for document in await self._documents.list("prices")]

    async def insert(self, price: Price) -> None:
        with suppress(AlreadyExists):
            await self._documents.insert("prices", key_of(price.model), price.price_id, _text(price))


class DocumentAuditLog:
    """Implements `AuditLog`, one partition a month."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def record(self, event: AuditEvent) -> None:
        await self._documents.insert("audit", f"{event.at:%Y%m}", event.event_id, _text(event))
