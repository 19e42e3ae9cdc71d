"""The deliveries of alerts as documents in the table `alerts`, in a partition for each sink."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Final

from pydantic import AwareDatetime, Field

from shared.adapters.cloud_events import read_event
from shared.adapters.documents.audit import unplaced_row
from shared.adapters.documents.codec import from_json, to_json
from shared.adapters.documents.store import Document, Documents, Write, key_of
from shared.application.ports.alerts import Backlog, DamagedDelivery, WaitingPage
from shared.domain.alerts.delivery import Delivery
from shared.domain.alerts.event import AlertEvent
from shared.domain.alerts.sink import AlertSink, SinkId
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
_DAMAGED: Final = "~damaged|"
"""The partitions of damaged deliveries begin with this, one for each sink."""
_PAGE: Final = 500
_MAX_KEY: Final = 400


@record
class _Row:
    """A delivery as it is stored, whether it waits or has ended."""

    event: str
    attempts: Annotated[int, Field(ge=0)]
    due: AwareDatetime
    stored_at: AwareDatetime
    ended_at: AwareDatetime | None = None
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

    async def waiting(self, sink: SinkId, limit: int, after: str = "") -> WaitingPage:
        page = await self._documents.list(TABLE, partition=_partition(sink), after=after, before=_ENDED, limit=limit)
        read = [(each, _delivery(sink, each)) for each in page]
        return WaitingPage(
            [delivery for _, delivery in read if delivery is not None],
            [DamagedDelivery(sink, each.key, each.etag) for each, delivery in read if delivery is None],
            page[-1].key if len(page) == limit else "",
        )

    async def set_aside(self, damaged: DamagedDelivery) -> bool:
        partition = _partition(damaged.sink_id)
        found = await self._documents.get(TABLE, partition, damaged.key)
        if found is None or found.etag != damaged.etag:
            return False
        await self._documents.put(TABLE, _partition_of_damaged(damaged.sink_id), found.key, found.text)
        try:
            await self._documents.commit(TABLE, partition, [Write(key=found.key, text=None, etag=found.etag)])
        except VersionConflict:
            return False
        return True

    async def drop(self, delivery: Delivery) -> None:
        await self._documents.remove(TABLE, _partition(delivery.sink_id), _key(delivery.event))

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

    async def revive(self, sink: AlertSink, at: datetime, limit: int) -> int:
        partition = _partition(sink.sink_id)
        found = await self._documents.list(TABLE, partition=partition, after=_DEAD, before=_END_OF_DEAD)
        dead, _ = _readable(sink, found)
        revived = 0
        for each in dead[:limit]:
            fresh = _Row(event=each.event.document, attempts=0, due=at, stored_at=at)
            writes = [
                Write(key=_DEAD + _key(each.event), text=None, etag=each.etag),
                Write(key=_key(each.event), text=to_json(fresh), etag=None),
            ]
            with suppress(AlreadyExists, VersionConflict):  # another request was faster
                await self._documents.commit(TABLE, partition, writes)
                revived += 1
        return revived

    async def backlog(self, sink: AlertSink) -> Backlog:
        kept = await self._documents.list(TABLE, partition=_partition(sink.sink_id), before=_END_OF_DEAD)
        set_aside = await self._documents.list(TABLE, partition=_partition_of_damaged(sink.sink_id))
        waiting, damaged = _readable(sink, [each for each in kept if not each.key.startswith(_DEAD)])
        dead, of_dead = _readable(sink, [each for each in kept if each.key.startswith(_DEAD)])
        return Backlog(len(waiting), len(dead), len({*damaged, *of_dead, *(each.key for each in set_aside)}))

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


def _partition_of_damaged(sink: SinkId) -> str:
    """Return the partition in which the damaged deliveries of a sink are kept, for people to look at."""
    return f"{_DAMAGED}{sink.tenant_id}|{sink.name}"


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


def _readable(sink: AlertSink, documents: Sequence[Document]) -> tuple[Sequence[Delivery], Sequence[str]]:
    """Return the deliveries for a sink, without those for an earlier one of its name; and the keys of damaged rows."""
    read = [(each.key, _delivery(sink.sink_id, each)) for each in documents]
    deliveries = [each for _, each in read if each is not None and sink.gets_events_of(each.event.at)]
    return deliveries, [key for key, each in read if each is None]


def _delivery(sink: SinkId, document: Document) -> Delivery | None:
    """Read a delivery that waits or was given up; `None` for one that the gateway did not write, or not there."""
    try:
        row = from_json(_Row, document.text)
        event = read_event(row.event)
    except ValueError:
        return None
    if _key(event) != document.key.removeprefix(_DEAD):
        return None
    return Delivery(
        sink_id=sink,
        event=event,
        attempts=row.attempts,
        due=row.due,
        stored_at=row.stored_at,
        etag=document.etag,
    )
