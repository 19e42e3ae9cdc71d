"""The rows of all tables of documents in which events wait to be chained."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec

from shared.adapters.canonical_json import encode_canonical
from shared.adapters.documents.audit import OUTBOX_TABLES
from shared.adapters.documents.store import Documents, Pending
from shared.application.ports.audit import OutboxEntry
from shared.domain.audit.audit_chain import WaitingEvent
from shared.domain.identifiers import timestamp


class DocumentWaitingEvents:
    """Implements `WaitingEvents`."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    @property
    def tables(self) -> Sequence[str]:
        return OUTBOX_TABLES

    async def waiting(self, table: str, limit: int) -> Sequence[OutboxEntry]:
        return [_read(row) for row in await self._documents.pending(table, limit)]

    async def remove(self, entry: OutboxEntry) -> None:
        row = Pending(table=entry.table, partition=entry.partition, event_id=entry.event_id, text="")
        await self._documents.withdraw(row)


def _read(row: Pending) -> OutboxEntry:
    """Read a row. One that the gateway did not write has a fault, and no event."""
    event, fault = None, ""
    try:
        event = WaitingEvent(row.event_id, _time_of(row), row.text)
    except (ValueError, KeyError, TypeError) as error:
        fault = f"holds no event: {type(error).__name__}"
    return OutboxEntry(table=row.table, partition=row.partition, event_id=row.event_id, event=event, fault=fault)


def _time_of(row: Pending) -> str:
    """Return the time of an event. Raises `ValueError`, `KeyError` or `TypeError` for anything else."""
    fields: dict[str, Any] = msgspec.json.decode(row.text, type=dict[str, Any])
    at: str = fields["at"]
    is_canonical = encode_canonical(fields).decode() == row.text and timestamp(datetime.fromisoformat(at)) == at
    if fields["event_id"] != row.event_id or not is_canonical:
        raise ValueError
    return at
