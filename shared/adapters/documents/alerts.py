"""The outbox of alerts as documents in the table `alerts`, and the log of those that were fanned out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Final

from shared.adapters.cloud_events import event_json, read_event
from shared.adapters.documents.deliveries import TABLE, DocumentDeliveries, row_key
from shared.adapters.documents.store import Document, Documents, key_of
from shared.domain.alerts.alert import Alert
from shared.domain.alerts.event import AlertEvent
from shared.domain.alerts.sink import SinkId
from shared.domain.errors import AlreadyExists
from shared.domain.identifiers import timestamp

_LOG: Final = "alertlog"
_NEVER_A_KIND: Final = "~"
"""The partitions of kinds begin with a letter, all others with this."""
_DAMAGED: Final = "~damaged"
_PLATFORM: Final = "~platform"
"""The partition of the log for events that are about no tenant."""
_PAGE: Final = 500


class DocumentAlerts:
    """Implements `AlertOutbox`.

    - An alert is first a row in the partition of its kind, as all versions write it.
    - When it is fanned out, it becomes a row of the log, in the partition of its tenant, and its first row is deleted.
    """

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._deliveries = DocumentDeliveries(documents)

    async def add(self, alert: Alert) -> bool:
        if await self._logged(alert.tenant_id, f"{alert.kind}:{alert.event_id}") is not None:
            return False
        try:
            await self._documents.insert(TABLE, alert.kind, row_key(alert.event_id), event_json(alert))
        except AlreadyExists:
            return False
        return True

    async def raised(self, limit: int) -> tuple[Sequence[AlertEvent], Sequence[str]]:
        events: list[AlertEvent] = []
        set_aside: list[str] = []
        for document in await self._documents.list(TABLE, before=_NEVER_A_KIND, limit=limit):
            event = _read(document)
            if event is None:
                await self._set_aside(document)
                set_aside.append(f"{document.partition}/{document.key}")
            else:
                events.append(event)
        return events, set_aside

    async def was_fanned_out(self, event: AlertEvent) -> bool:
        return await self._logged(event.tenant_id, event.name) is not None

    async def fan_out(self, event: AlertEvent, sinks: Sequence[SinkId], at: datetime) -> None:
        if not await self.was_fanned_out(event):
            for sink in sinks:
                await self._deliveries.add(sink, event, at)
            with suppress(AlreadyExists):
                await self._documents.insert(_LOG, _owner(event.tenant_id), row_key(event.name), event.document)
        await self._documents.remove(TABLE, event.kind, row_key(event.event_id))

    async def with_successors(self, tenant_id: str, kind: str, event_id: str) -> Sequence[AlertEvent]:
        # The log is read last, so that an event that is fanned out meanwhile is seen at least once.
        waiting = await self._with_successors(TABLE, kind, event_id)
        logged = await self._with_successors(_LOG, _owner(tenant_id), f"{kind}:{event_id}")
        return [event for each in (*waiting, *logged) if (event := _event(each)) is not None]

    async def of_owner(self, tenant_id: str) -> Sequence[AlertEvent]:
        # The log is read last, so that an event that is fanned out meanwhile is seen at least once.
        waiting = await self._documents.list(TABLE, before=_NEVER_A_KIND, limit=_PAGE)
        raised = [event for each in waiting if (event := _read(each)) is not None and event.tenant_id == tenant_id]
        logged = await self._documents.list(_LOG, partition=_owner(tenant_id))
        events = [*raised, *(event for each in logged if (event := _event(each)) is not None)]
        return sorted({each.name: each for each in events}.values(), key=lambda event: event.at, reverse=True)

    async def forget(self, before: datetime, limit: int) -> int:
        removed, partition, earliest = 0, "", timestamp(before)
        while first := await self._documents.list(_LOG, after=partition, limit=1):
            partition, after = first[0].partition, ""
            while page := await self._documents.list(_LOG, partition=partition, after=after, limit=_PAGE):
                after = page[-1].key
                for document in page:
                    event = _event(document)
                    if event is not None and event.at < earliest:
                        await self._documents.remove(_LOG, partition, document.key)
                        removed += 1
                        if removed == limit:
                            return removed
        return removed

    async def _with_successors(self, table: str, partition: str, name: str) -> list[Document]:
        own = await self._documents.get(table, partition, row_key(name))
        # In the order of keys, ";" follows ":". Names whose keys are hashes have no successors.
        further = await self._documents.list(
            table, partition=partition, after=key_of(f"{name}:"), before=key_of(f"{name};")
        )
        return [own, *further] if own else further

    async def _logged(self, tenant_id: str, name: str) -> Document | None:
        return await self._documents.get(_LOG, _owner(tenant_id), row_key(name))

    async def _set_aside(self, document: Document) -> None:
        await self._documents.put(TABLE, _DAMAGED, row_key(f"{document.partition}/{document.key}"), document.text)
        await self._documents.remove(TABLE, document.partition, document.key)


def _owner(tenant_id: str) -> str:
    return tenant_id or _PLATFORM


def _event(document: Document) -> AlertEvent | None:
    """Read a stored event; `None` for a row that the gateway did not write."""
    try:
        return read_event(document.text)
    except ValueError:
        return None


def _read(document: Document) -> AlertEvent | None:
    """Read a row of the partition of a kind; `None` for one that the gateway did not write, or not there."""
    event = _event(document)
    if event is None:
        return None
    is_in_place = event.kind == document.partition and row_key(event.event_id) == document.key
    return event if is_in_place else None
