"""The grants that were asked for, as documents in the table `grants`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from shared.adapters.documents.audit import GRANTS_TABLE, unplaced_row
from shared.adapters.documents.codec import from_json, to_json
from shared.adapters.documents.store import Document, Documents, Write, key_of, name_of
from shared.application.ports.tenancy import Versioned
from shared.domain.audit.events import AuditEvent
from shared.domain.errors import RowsDamaged
from shared.domain.tenancy.grant import GrantName, RequestedGrant

_TABLE: Final = GRANTS_TABLE


class DocumentGrantRequests:
    """Implements `GrantRequests`, with a partition for each tenant. Ordinarily the table is empty."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def add(self, requested: RequestedGrant, event: AuditEvent) -> Versioned[RequestedGrant]:
        tenant_id, key = _place(requested.name)
        etag = await self._documents.insert(_TABLE, tenant_id, key, to_json(requested), unplaced_row(event))
        return Versioned(requested, etag)

    async def find(self, name: GrantName) -> Versioned[RequestedGrant] | None:
        found = await self._documents.get(_TABLE, *_place(name))
        return None if found is None else Versioned(_read(found), found.etag)

    async def take_over(self, found: Versioned[RequestedGrant]) -> Versioned[RequestedGrant]:
        etag = await self._documents.replace(_TABLE, *_place(found.value.name), to_json(found.value), found.etag)
        return Versioned(found.value, etag)

    async def remove(self, found: Versioned[RequestedGrant]) -> None:
        tenant_id, key = _place(found.value.name)
        await self._documents.commit(_TABLE, tenant_id, [Write(key=key, text=None, etag=found.etag)])

    async def refuse(self, found: Versioned[RequestedGrant], event: AuditEvent) -> None:
        tenant_id, key = _place(found.value.name)
        stored = Document(partition=tenant_id, key=key, text=to_json(found.value), etag=found.etag)
        await self._documents.remove_version(stored, _TABLE, unplaced_row(event))

    async def names(self) -> Sequence[GrantName]:
        return [(each.partition, name_of(each.key)) for each in await self._documents.list(_TABLE)]


def _place(name: GrantName) -> tuple[str, str]:
    return name[0], key_of(name[1])


def _read(document: Document) -> RequestedGrant:
    """Read a request. Raises `RowsDamaged` for one that something else has written."""
    try:
        requested = from_json(RequestedGrant, document.text)
    except ValueError:
        requested = None
    if requested is None or _place(requested.name) != (document.partition, document.key):
        raise RowsDamaged(f"The row {_TABLE} {document.partition} {document.key} is no grant that was asked for.")
    return requested
