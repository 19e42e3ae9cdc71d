"""The rows of all tables of documents in which events wait to be chained."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from shared.adapters.canonical_json import encode_canonical
from shared.adapters.documents.audit import OUTBOX_TABLES
from shared.adapters.documents.codec import MAX_DOCUMENT_CHARACTERS
from shared.adapters.documents.store import Documents, Pending
from shared.application.ports.audit import OutboxEntry
from shared.domain.audit.audit_chain import WaitingEvent
from shared.domain.identifiers import timestamp

_ID: Final = re.compile(r"[0-9a-f]{32}")
_MAX_CHARACTERS: Final = 3 * MAX_DOCUMENT_CHARACTERS
"""An event holds its document twice, before and after its change."""
_MAX_DEPTH: Final = 50
"""An object in an event is a few levels deep."""


class _Refusals(msgspec.Struct):
    tenant: str


class _Event(msgspec.Struct):
    """The types of an event's fields, on which readers rely. Later versions may add fields."""

    event_id: str
    at: str
    actor: str = ""
    role: str = ""
    action: str = ""
    target: str = ""
    before: dict[str, Any] | None = None
    after: dict[str, Any] | None = None
    source_address: str = ""
    request_id: str = ""
    reason: str = ""
    place: str = ""
    before_sha256: str = ""
    after_sha256: str = ""
    weakens: tuple[str, ...] = ()
    refusals: tuple[_Refusals, ...] = ()


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
    """Read a row. One that the gateway did not write has a fault, and no event: what is chained stays for ever."""
    event, fault = None, ""
    try:
        event = WaitingEvent(row.event_id, _time_of(row), row.text)
    except (ValueError, RecursionError) as error:
        fault = f"holds no event: {type(error).__name__}"
    return OutboxEntry(table=row.table, partition=row.partition, event_id=row.event_id, event=event, fault=fault)


def _time_of(row: Pending) -> str:
    """Return the time of an event. Raises `ValueError` or `RecursionError` for anything else."""
    event = msgspec.json.decode(row.text, type=_Event)
    fields: dict[str, Any] = msgspec.json.decode(row.text, type=dict[str, Any])
    is_canonical = encode_canonical(fields).decode() == row.text
    is_time = timestamp(datetime.fromisoformat(event.at)) == event.at
    is_bounded = len(row.text) <= _MAX_CHARACTERS and _is_within(fields, _MAX_DEPTH)
    is_id = _ID.fullmatch(event.event_id) is not None and event.event_id == row.event_id
    if not (is_canonical and is_time and is_bounded and is_id):
        raise ValueError
    return event.at


def _is_within(value: object, depth: int) -> bool:
    """Tell whether a JSON value has no more than `depth` levels."""
    parts = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return depth > 0 and all(_is_within(each, depth - 1) for each in parts)
