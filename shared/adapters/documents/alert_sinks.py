"""The sinks of alerts as documents in the table `alertsinks`, in a partition for each owner."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from shared.adapters.documents.audit import AuditedDocuments
from shared.adapters.documents.codec import to_document
from shared.adapters.documents.read_documents import read_document
from shared.adapters.documents.store import Document, Documents
from shared.domain.alerts.sink import AlertSink, SinkId
from shared.domain.audit.events import AuditEvent
from shared.domain.damaged_row import DamagedRow
from shared.domain.errors import AlreadyExists, RowsDamaged, VersionConflict

_TABLE: Final = "alertsinks"
_PLATFORM: Final = "~platform"
"""The partition of the platform's own sinks. No id of a tenant begins so."""


class DocumentSinks:
    """Implements `SinkDirectory`."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._audited = AuditedDocuments(documents)

    async def all(self) -> tuple[Sequence[AlertSink], Sequence[str]]:
        sinks: list[AlertSink] = []
        damaged: list[str] = []
        for document in await self._documents.list(_TABLE):
            if _is_sink(document):
                sinks.append(_sink(document))
            else:
                damaged.append(f"{document.partition}/{document.key}")
        return sinks, damaged

    async def of_owner(self, tenant_id: str) -> Sequence[tuple[AlertSink, str]]:
        found = await self._documents.list(_TABLE, partition=tenant_id or _PLATFORM)
        return [(_sink(each), each.etag) for each in found if _is_sink(each)]

    async def damaged_of(self, tenant_id: str) -> Sequence[DamagedRow]:
        found = await self._documents.list(_TABLE, partition=tenant_id or _PLATFORM)
        rows = [f"{_TABLE}/{each.partition}/{each.key}" for each in found if not _is_sink(each)]
        return [DamagedRow(row, "the sink cannot be read") for row in rows]

    async def get(self, sink: SinkId) -> tuple[AlertSink, str] | None:
        found = await self._found(sink)
        return (_sink(found), found.etag) if found else None

    async def put(self, sink: AlertSink, etag: str | None, event: AuditEvent) -> str:
        text = to_document(sink)
        if etag is None:
            try:
                return await self._audited.insert(_TABLE, sink.tenant_id or _PLATFORM, sink.name, text, event)
            except AlreadyExists:
                raise VersionConflict from None
        return await self._audited.replace(_TABLE, await self._version(sink.sink_id, etag), text, event)

    async def remove(self, sink: SinkId, etag: str, event: AuditEvent) -> None:
        await self._audited.remove(_TABLE, await self._version(sink, etag), event)

    async def _version(self, sink: SinkId, etag: str) -> Document:
        found = await self._found(sink)
        if found is None or found.etag != etag:
            raise VersionConflict
        return found

    async def _found(self, sink: SinkId) -> Document | None:
        return await self._documents.get(_TABLE, sink.tenant_id or _PLATFORM, sink.name)


def _sink(document: Document) -> AlertSink:
    """Read a sink. Raises `RowsDamaged` for anything else, and for the document of another sink."""
    sink = read_document(AlertSink, _TABLE, document)
    if (sink.tenant_id or _PLATFORM, sink.name) != (document.partition, document.key):
        raise RowsDamaged(f"The row {_TABLE}/{document.partition}/{document.key} is that of another sink.")
    return sink


def _is_sink(document: Document) -> bool:
    try:
        _sink(document)
    except RowsDamaged:
        return False
    return True
