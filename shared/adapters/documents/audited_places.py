"""The documents whose changes are audited, as they are stored."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from shared.adapters.documents.audit import (
    AUDIT_TABLE,
    PERIODS_PARTITION,
    SETTINGS_PARTITION,
    AuditedDocuments,
    sha256_of,
)
from shared.adapters.documents.store import Document, Documents, name_of
from shared.application.ports.audit import AuditedDocument, DocumentPlace
from shared.domain.audit.events import AuditEvent
from shared.domain.errors import VersionConflict

_PRICES: Final = "prices"
_AUDITED: Final = (
    ("tenants", None),
    ("credentials", None),
    ("backends", "backend"),
    ("backends", "deployment"),
    (_PRICES, None),
    ("alertsinks", None),
    (AUDIT_TABLE, PERIODS_PARTITION),
    (AUDIT_TABLE, SETTINGS_PARTITION),
)
"""Tables, and partitions where other partitions of the table hold something else."""


class DocumentPlaces:
    """Implements `AuditedDocuments`."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._audited = AuditedDocuments(documents)

    async def all(self) -> AsyncIterator[AuditedDocument]:
        for table, partition in _AUDITED:
            for document in await self._documents.list(table, partition=partition):
                yield _audited(table, document)

    async def get(self, place: DocumentPlace) -> AuditedDocument | None:
        table, partition, row = place
        found = await self._documents.get(table, partition, row)
        return _audited(table, found) if found else None

    async def add_event(self, document: AuditedDocument, event: AuditEvent) -> None:
        table, partition, row = document.place
        found = await self._documents.get(table, partition, row)
        if found is None or _audited(table, found) != document:
            raise VersionConflict
        await self._audited.add_event(table, found, event)


def _audited(table: str, document: Document) -> AuditedDocument:
    return AuditedDocument(
        place=(table, document.partition, document.key),
        target=_target(table, document),
        sha256=sha256_of(document.text),
        event_id=document.event_id,
        text=document.text if table == _PRICES else "",
    )


def _target(table: str, document: Document) -> str:
    """Return the name of an object. The partition is a tenant, a model, or the kind of the object."""
    owner, name = name_of(document.partition), name_of(document.key)
    if table == "tenants":
        return owner
    return f"{owner}/{name}" if (table, None) in _AUDITED else name
