"""Tenants and their gateway keys as documents."""

from __future__ import annotations

from collections.abc import Sequence

from shared.adapters.documents.audit import AuditedDocuments
from shared.adapters.documents.codec import from_json, to_document
from shared.adapters.documents.store import Documents, key_of, name_of
from shared.application.ports.tenancy import KeyName, TenantPage, Versioned
from shared.domain.audit.events import AuditEvent
from shared.domain.errors import TenantsDamaged, VersionConflict
from shared.domain.tenancy.keys import GatewayKey
from shared.domain.tenancy.tenant import Tenant

_TENANT_KEY = "tenant"
"""The key of the only document in a tenant's partition."""


class DocumentTenants:
    """Implements `TenantDirectory`."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._audited = AuditedDocuments(documents)

    async def get(self, tenant_id: str) -> Versioned[Tenant] | None:
        document = await self._documents.get("tenants", tenant_id, _TENANT_KEY)
        return Versioned(from_json(Tenant, document.text), document.etag) if document else None

    async def insert(self, tenant: Tenant, event: AuditEvent) -> Versioned[Tenant]:
        etag = await self._audited.insert("tenants", tenant.tenant_id, _TENANT_KEY, to_document(tenant), event)
        return Versioned(tenant, etag)

    async def replace(self, tenant: Tenant, etag: str, event: AuditEvent) -> Versioned[Tenant]:
        found = await self._documents.get("tenants", tenant.tenant_id, _TENANT_KEY)
        if found is None or etag not in ("*", found.etag):
            raise VersionConflict
        return Versioned(tenant, await self._audited.replace("tenants", found, to_document(tenant), event))

    async def list(self, limit: int, cursor: str | None) -> tuple[list[Versioned[Tenant]], str | None]:
        page, after = await self.list_readable(limit, cursor)
        if page.damaged:
            raise TenantsDamaged(page.damaged)
        return [*page.tenants], after

    async def list_readable(self, limit: int, cursor: str | None) -> tuple[TenantPage, str | None]:
        # One more than asked for tells whether there is a next page.
        found = await self._documents.list("tenants", after=cursor or "", limit=limit + 1)
        tenants: list[Versioned[Tenant]] = []
        damaged: list[str] = []
        for document in found[:limit]:
            try:
                tenants.append(Versioned(from_json(Tenant, document.text), document.etag))
            except ValueError:
                damaged.append(document.partition)
        return TenantPage(tenants, damaged), found[limit - 1].partition if len(found) > limit else None


class DocumentKeys:
    """Implements `KeyDirectory`."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._audited = AuditedDocuments(documents)

    async def get(self, tenant_id: str, key_id: str) -> GatewayKey | None:
        document = await self._documents.get("credentials", tenant_id, key_of(key_id))
        return from_json(GatewayKey, document.text) if document else None

    async def names(self) -> frozenset[KeyName]:
        return frozenset((found.partition, name_of(found.key)) for found in await self._documents.list("credentials"))

    async def insert(self, key: GatewayKey, event: AuditEvent) -> None:
        await self._audited.insert("credentials", key.tenant_id, key_of(key.key_id), to_document(key), event)

    async def replace(self, key: GatewayKey, event: AuditEvent) -> None:
        found = await self._documents.get("credentials", key.tenant_id, key_of(key.key_id))
        if found is None or from_json(GatewayKey, found.text) != event.before:
            raise VersionConflict
        await self._audited.replace("credentials", found, to_document(key), event)

    async def list(self, tenant_id: str) -> Sequence[GatewayKey]:
        found = await self._documents.list("credentials", partition=tenant_id)
        return [from_json(GatewayKey, document.text) for document in found]
