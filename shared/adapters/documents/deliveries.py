"""The deliveries of alerts as documents in the table `alerts`, in a partition for each sink."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Final

from shared.adapters.cloud_events import read_event
from shared.adapters.documents.audit import unplaced_row
from shared.adapters.documents.codec import from_json, to_json
from shared.adapters.documents.store import Document, Documents, Write, key_of
from shared.application.ports.alerts import Backlog
from shared.domain.alerts.delivery import Delivery
from shared.domain.alerts.event import AlertEvent
from shared.domain.alerts.sink import SinkId
from shared.domain.audit.events import AuditEvent
from shared.domain.errors import AlreadyExists, VersionConflict
from shared.domain.values import record

TABLE: Final = "alerts"
_SINK: Final = "~sink|"
_ENDED: Final = "~"
"""The keys of deliveries that wait begin with a letter, those of others with this."""
_DEAD: Final = "~dead|"
_DONE: Final = "~done|"
_END_OF_DEAD: Final = "~dead}"
_PAGE: Final = 500
_MAX_KEY: Final = 400


@record
class _Row:
    """A delivery as it is stored, whether it waits or has ended."""

    event: str
    attempts: int
    due: datetime
    stored_at: datetime
    ended_at: datetime | None = None
    reason: str = ""


class DocumentDeliveries:
    """Implements `AlertDeliveries`. The end of a delivery and the row that remembers it are one transaction."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def add(self, sink: SinkId, event: AlertEvent, at: datetime) -> None:
        """Make a delivery, unless there is one."""
        row = _Row(event=event.document, attempts=0, due=at, stored_at=at)
        with suppress(AlreadyExists):
            await self._documents.insert(TABLE, _partition(sink), _key(event), to_json(row))

    async def waiting(self, sink: SinkId, limit: int, after: str = "") -> tuple[Sequence[Delivery], str]:
        page = await self._documents.list(TABLE, partition=_partition(sink), after=after, before=_ENDED, limit=limit)
        found = [delivery for each in page if (delivery := _delivery(sink, each)) is not None]
        return found, page[-1].key if len(page) == limit else ""

    async def lease(self, delivery: Delivery, until: datetime) -> Delivery | None:
        return await self._replace(replace(delivery, attempts=delivery.attempts + 1, due=until))

    async def was_delivered(self, delivery: Delivery) -> bool:
        key = _DONE + _key(delivery.event)
        return await self._documents.get(TABLE, _partition(delivery.sink_id), key) is not None

    async def delivered(self, delivery: Delivery, at: datetime) -> None:
        ended = replace(_row(delivery), event="", ended_at=at)
        await self._end(delivery, Write(key=_DONE + _key(delivery.event), text=to_json(ended), etag=None))

    async def postpone(self, delivery: Delivery, due: datetime) -> None:
        await self._replace(replace(delivery, due=due))

    async def give_up(self, delivery: Delivery, at: datetime, reason: str, event: AuditEvent) -> bool:
        text = to_json(replace(_row(delivery), ended_at=at, reason=reason))
        row = Write(key=_DEAD + _key(delivery.event), text=text, etag=None, event=unplaced_row(event))
        return await self._end(delivery, row)

    async def revive(self, sink: SinkId, at: datetime, limit: int) -> int:
        dead = await self._documents.list(
            TABLE, partition=_partition(sink), after=_DEAD, before=_END_OF_DEAD, limit=limit
        )
        revived = 0
        for each in dead:
            row = _read(each)
            if row is None:
                continue
            fresh = replace(row, attempts=0, due=at, stored_at=at, ended_at=None, reason="")
            key = each.key.removeprefix(_DEAD)
            writes = [
                Write(key=each.key, text=None, etag=each.etag),
                Write(key=key, text=to_json(fresh), etag=None),
            ]
            with suppress(AlreadyExists, VersionConflict):  # another request was faster
                await self._documents.commit(TABLE, each.partition, writes)
                revived += 1
        return revived

    async def backlog(self, sink: SinkId) -> Backlog:
        waiting = await self._documents.list(TABLE, partition=_partition(sink), before=_ENDED)
        dead = await self._documents.list(TABLE, partition=_partition(sink), after=_DEAD, before=_END_OF_DEAD)
        return Backlog(len(waiting), len(dead))

    async def forget(self, before: datetime, limit: int) -> int:
        removed = 0
        async for document in self._all():
            if _is_older(document, before):
                await self._documents.remove(TABLE, document.partition, document.key)
                removed += 1
                if removed == limit:
                    break
        return removed

    async def _all(self) -> AsyncIterator[Document]:
        """Yield the deliveries of all sinks, also of those that were removed."""
        partition = _SINK
        while first := await self._documents.list(TABLE, after=partition, limit=1):
            partition, after = first[0].partition, ""
            while page := await self._documents.list(TABLE, partition=partition, after=after, limit=_PAGE):
                after = page[-1].key
                for document in page:
                    yield document

    async def _replace(self, delivery: Delivery) -> Delivery | None:
        """Store a delivery in place of the version that was read; `None` if it is no longer there."""
        partition, key = _partition(delivery.sink_id), _key(delivery.event)
        try:
            etag = await self._documents.replace(TABLE, partition, key, to_json(_row(delivery)), delivery.etag)
        except VersionConflict:
            return None
        return replace(delivery, etag=etag)

    async def _end(self, delivery: Delivery, ended: Write) -> bool:
        """Delete the row of a delivery, and add the one that remembers it."""
        removed = Write(key=_key(delivery.event), text=None, etag=delivery.etag)
        try:
            await self._documents.commit(TABLE, _partition(delivery.sink_id), [removed, ended])
        except AlreadyExists:  # it ended before, and was made anew by a process that had stopped for a while
            await self._documents.remove(TABLE, _partition(delivery.sink_id), removed.key)
            return False
        except VersionConflict:
            return False
        return True


def _partition(sink: SinkId) -> str:
    return f"{_SINK}{sink.tenant_id}|{sink.name}"


def _key(event: AlertEvent) -> str:
    return row_key(event.name)


def row_key(name: str) -> str:
    """Return the key of a name. A key must not have more than 512 characters, so that of a long name is a hash."""
    key = key_of(name)
    return key if len(key) <= _MAX_KEY else f"sha256={hashlib.sha256(name.encode()).hexdigest()}"


def _row(delivery: Delivery) -> _Row:
    return _Row(
        event=delivery.event.document,
        attempts=delivery.attempts,
        due=delivery.due,
        stored_at=delivery.stored_at,
    )


def _is_older(document: Document, before: datetime) -> bool:
    """Tell whether a delivery ended, or was stored, before a time. One that cannot be read stays."""
    row = _read(document)
    return row is not None and (row.ended_at or row.stored_at) < before


def _read(document: Document) -> _Row | None:
    """Read a delivery, whether it waits or has ended; `None` for a row that the gateway did not write."""
    try:
        return from_json(_Row, document.text)
    except ValueError:
        return None


def _delivery(sink: SinkId, document: Document) -> Delivery | None:
    """Read a delivery that waits; `None` for one that the gateway did not write."""
    try:
        row = from_json(_Row, document.text)
        event = read_event(row.event)
    except ValueError:
        return None
    return Delivery(
        sink_id=sink,
        event=event,
        attempts=row.attempts,
        due=row.due,
        stored_at=row.stored_at,
        etag=document.etag,
    )
