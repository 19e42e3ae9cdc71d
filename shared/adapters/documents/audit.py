"""Documents that are written together with the audit events of their changes."""

from __future__ import annotations

import hashlib
from dataclasses import fields, replace
from typing import Any, Final

from shared.adapters.canonical_json import encode_canonical
from shared.adapters.documents.codec import to_document, to_plain
from shared.adapters.documents.read_documents import read_document
from shared.adapters.documents.store import Document, Documents, OutboxRow, Pending, Write
from shared.domain.audit.events import AuditEvent, RefusalSummary
from shared.domain.errors import AlreadyExists, VersionConflict
from shared.domain.identifiers import moment_of, rid_after, timestamp
from shared.domain.pricing.money import usd
from shared.domain.tenancy.grant import TenantGrant
from shared.domain.values import ValueObject

AUDIT_TABLE: Final = "audit"
GRANTS_TABLE: Final = "grants"
OUTBOX_TABLES: Final = (
    AUDIT_TABLE,
    "tenants",
    "credentials",
    "backends",
    "prices",
    "pseudonyms",
    GRANTS_TABLE,
    "alerts",
    "alertsinks",
)
"""The tables in which events wait to be chained."""
PERIODS_PARTITION: Final = "periods"
SETTINGS_PARTITION: Final = "settings"
_OUTBOX_PARTITION: Final = "outbox"
"""The partition of events that belong to no document. Those of earlier versions are in partitions `YYYYMM`."""


class AuditedDocuments:
    """Writes each document with the event of its change: both are stored, or neither.

    The ids of a document's events ascend, also if the clocks of two processes differ.
    """

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def insert(self, table: str, partition: str, key: str, text: str, event: AuditEvent) -> str:
        """Add a document and return its ETag. Raises `AlreadyExists`."""
        row = _outbox_row(event, f"{table}/{partition}/{key}", "", text)
        return await self._documents.insert(table, partition, key, text, row)

    async def replace(self, table: str, found: Document, text: str, event: AuditEvent) -> str:
        """Replace the version that was read and return the new ETag. Raises `VersionConflict`."""
        row = _outbox_row(_after(found, event), _place(table, found), found.text, text)
        return await self._documents.replace(table, found.partition, found.key, text, found.etag, row)

    async def replace_and_insert(
        self, table: str, found: Document, text: str, event: AuditEvent, key: str, new_text: str, new_event: AuditEvent
    ) -> None:
        """Replace one document, and add another one to its partition. Raises `AlreadyExists` and `VersionConflict`."""
        row = _outbox_row(_after(found, event), _place(table, found), found.text, text)
        new_row = _outbox_row(new_event, f"{table}/{found.partition}/{key}", "", new_text)
        replaced = Write(key=found.key, text=text, etag=found.etag, event=row)
        inserted = Write(key=key, text=new_text, etag=None, event=new_row)
        await self._documents.commit(table, found.partition, [replaced, inserted])

    async def put(self, table: str, partition: str, key: str, changed: ValueObject, event: AuditEvent) -> None:
        """Add an object, or replace the one before the event. Raises `VersionConflict` if another is stored."""
        found, text = await self.found(table, partition, key, type(changed), event), to_document(changed)
        if found is not None:
            await self.replace(table, found, text, event)
            return
        try:
            await self.insert(table, partition, key, text, event)
        except AlreadyExists:
            raise VersionConflict from None

    async def found(
        self, table: str, partition: str, key: str, kind: type[ValueObject], event: AuditEvent
    ) -> Document | None:
        """Return the stored document. Raises `VersionConflict` if it is not the object before the event."""
        found = await self._documents.get(table, partition, key)
        if (read_document(kind, table, found) if found else None) != event.before:
            raise VersionConflict
        return found

    async def add_event(self, table: str, found: Document, event: AuditEvent) -> None:
        """Store an event with the version that was read, which had none. Raises `VersionConflict`."""
        row = _outbox_row(event, _place(table, found), "", found.text)
        await self._documents.replace(table, found.partition, found.key, found.text, found.etag, row)

    async def remove(self, table: str, found: Document, event: AuditEvent) -> None:
        """Delete the version that was read. Raises `VersionConflict`."""
        row = _outbox_row(_after(found, event), _place(table, found), found.text, "")
        await self._documents.remove_version(found, table, row)


class DocumentOutbox:
    """Implements `AuditOutbox`."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def append(self, event: AuditEvent) -> None:
        await self._documents.append(AUDIT_TABLE, _OUTBOX_PARTITION, unplaced_row(event))

    async def withdraw(self, event: AuditEvent) -> None:
        await self._documents.withdraw(
            Pending(table=AUDIT_TABLE, partition=_OUTBOX_PARTITION, event_id=event.event_id, text="")
        )


def unplaced_row(event: AuditEvent) -> OutboxRow:
    """Write an event that names no document, because nobody shall find out which one it was."""
    return _outbox_row(event, "", "", "")


def sha256_of(text: str) -> str:
    """Return the SHA-256 of a document's text, in hexadecimal; an empty text for no document."""
    return hashlib.sha256(text.encode()).hexdigest() if text else ""


def _after(found: Document, event: AuditEvent) -> AuditEvent:
    """Return the event with an id and a time after those of the document's latest event."""
    if event.event_id > found.event_id:
        return event
    return replace(event, event_id=rid_after(found.event_id), at=max(event.at, moment_of(found.event_id)))


def _place(table: str, document: Document) -> str:
    return f"{table}/{document.partition}/{document.key}"


def _outbox_row(event: AuditEvent, place: str, before: str, after: str) -> OutboxRow:
    """Write an event as canonical JSON. Events are stored: their fields never change names or meanings."""
    stated: dict[str, object] = {
        "event_id": event.event_id,
        "at": timestamp(event.at),
        "actor": event.actor,
        "role": event.role,
        "action": event.action,
        "target": event.target,
        "before": _shown(event.before),
        "after": _shown(event.after),
        "source_address": event.source_address,
        "request_id": event.request_id,
        "reason": event.reason,
        "place": place,
        "before_sha256": sha256_of(before),
        "after_sha256": sha256_of(after),
    }
    if event.weakens:
        stated["weakens"] = event.weakens
    if isinstance(event.after, RefusalSummary):
        stated |= {"after": None, **to_plain(event.after)}
    return OutboxRow(event.event_id, encode_canonical(stated).decode())


def _shown(changed: ValueObject | None) -> Any:
    """Return the fields of an object under their stored names, without its secrets: the fields that no `repr` shows."""
    if changed is None:
        return None
    if isinstance(changed, TenantGrant):
        return {
            "period": changed.period,
            "grant_id": changed.grant_id,
            "tokens": changed.amount.tokens,
            "usd": usd(changed.amount.pusd),
            "reason": changed.reason,
        }
    secrets = {each.name for each in fields(changed) if not each.repr}
    return {name: value for name, value in to_plain(changed).items() if name not in secrets}
