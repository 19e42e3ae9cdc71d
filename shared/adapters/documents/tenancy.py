"""Tenants and their gateway keys as documents."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Final

from shared.adapters.documents.audit import AuditedDocuments
from shared.adapters.documents.codec import from_json, to_document, to_json
from shared.adapters.documents.store import Document, Documents, key_of, name_of
from shared.application.ports.tenancy import KeyName, StoredKeys, TenantPage, Versioned
from shared.domain.audit.events import AuditEvent
from shared.domain.errors import AlreadyExists, RowsDamaged, TenantsDamaged, VersionConflict
from shared.domain.tenancy.keys import GatewayKey
from shared.domain.tenancy.tenant import Tenant

_TENANT_KEY = "tenant"
"""The key of the only document in a tenant's partition."""
_USES: Final = "keyuses"


class DocumentTenants:
    """Implements `TenantDirectory`."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._audited = AuditedDocuments(documents)

    async def get(self, tenant_id: str) -> Versioned[Tenant] | None:
        document = await self._documents.get("tenants", tenant_id, _TENANT_KEY)
        if document is None:
            return None
        try:
            return Versioned(_tenant(document), document.etag)
        except ValueError as error:
            raise TenantsDamaged([tenant_id]) from error

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
                tenants.append(Versioned(_tenant(document), document.etag))
            except ValueError:
                damaged.append(document.partition)
        return TenantPage(tenants, damaged), found[limit - 1].partition if len(found) > limit else None


class DocumentKeys:
    """Implements `KeyDirectory`."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._audited = AuditedDocuments(documents)

    async def get(self, tenant_id: str, key_id: str) -> Versioned[GatewayKey] | None:
        document = await self._documents.get("credentials", tenant_id, key_of(key_id))
        if document is None:
            return None
        try:
            return Versioned(_key(document), document.etag)
        except ValueError as error:
            raise RowsDamaged(f"The document of the key '{key_id}' of tenant '{tenant_id}' cannot be read.") from error

    async def names(self) -> frozenset[KeyName]:
        return frozenset((found.partition, name_of(found.key)) for found in await self._documents.list("credentials"))

    async def insert(self, key: GatewayKey, event: AuditEvent) -> Versioned[GatewayKey]:
        text = to_document(key)
        etag = await self._audited.insert("credentials", key.tenant_id, key_of(key.key_id), text, event)
        return Versioned(key, etag)

    async def replace(self, key: GatewayKey, etag: str, event: AuditEvent) -> Versioned[GatewayKey]:
        found = await self._found(key)
        if found.etag != etag:
            raise VersionConflict
        return Versioned(key, await self._audited.replace("credentials", found, to_document(key), event))

    async def rotate(self, old: GatewayKey, etag: str, new: GatewayKey, of_old: AuditEvent, of_new: AuditEvent) -> None:
        found = await self._found(old)
        if found.etag != etag:
            raise VersionConflict
        await self._audited.replace_and_insert(
            "credentials", found, to_document(old), of_old, key_of(new.key_id), to_document(new), of_new
        )

    async def remove(self, key: GatewayKey, event: AuditEvent) -> None:
        await self._audited.remove("credentials", await self._found(key), event)

    async def _found(self, key: GatewayKey) -> Document:
        found = await self._documents.get("credentials", key.tenant_id, key_of(key.key_id))
        if found is None:
            raise VersionConflict
        return found

    async def list(self, tenant_id: str) -> StoredKeys:
        readable: list[GatewayKey] = []
        damaged: list[str] = []
        for document in await self._documents.list("credentials", partition=tenant_id):
            try:
                readable.append(_key(document))
            except ValueError:
                damaged.append(name_of(document.key))
        return StoredKeys(readable, damaged)


class DocumentKeyUses:
    """Implements `KeyUses`. A use is no part of its key's document, so that it can never undo a change of the key."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def note(self, name: KeyName, used_at: datetime) -> None:
        tenant_id, key_id = name
        stored, text = await self._documents.get(_USES, tenant_id, key_of(key_id)), to_json(used_at)
        while stored is None or (known := _use_of(stored)) is None or known < used_at:
            with suppress(AlreadyExists, VersionConflict):  # another process was faster: compare with its time
                if stored is None:
                    await self._documents.insert(_USES, tenant_id, key_of(key_id), text)
                else:
                    await self._documents.replace(_USES, tenant_id, key_of(key_id), text, stored.etag)
                return
            stored = await self._documents.get(_USES, tenant_id, key_of(key_id))

    async def last(self, tenant_id: str) -> Mapping[str, datetime]:
        found = await self._documents.list(_USES, partition=tenant_id)
        return {name_of(each.key): used_at for each in found if (used_at := _use_of(each)) is not None}

    async def remove(self, name: KeyName) -> None:
        await self._documents.remove(_USES, name[0], key_of(name[1]))


def _use_of(document: Document) -> datetime | None:
    """Return the time of a use; `None` if it cannot be read. Keys must be seen and revoked all the same."""
    try:
        return from_json(datetime, document.text)
    except ValueError:
        return None


def _tenant(document: Document) -> Tenant:
    """Read a tenant. Raises `ValueError` for anything else, and for the document of another tenant."""
    tenant = from_json(Tenant, document.text)
    if tenant.tenant_id != document.partition:
        raise ValueError("the document is another tenant's")
    return tenant


def _key(document: Document) -> GatewayKey:
    """Read a key. Raises `ValueError` for anything else, and for the document of another key."""
    key = from_json(GatewayKey, document.text)
    if (key.tenant_id, key_of(key.key_id)) != (document.partition, document.key):
        raise ValueError("the document is another key's")
    return key
