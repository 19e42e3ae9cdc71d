"""Read the audit log, newest first, with the events of earlier versions."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from typing import Any, Final

from shared.application.ports.audit import AuditChain, UnchainedEvents
from shared.application.ports.clock import Clock
from shared.domain.audit.audit_chain import ChainedEvent
from shared.domain.identifiers import BillingPeriod, timestamp
from shared.domain.values import record, value

_MOST_READ: Final = 2000
"""Entries that are read for one page."""
_READ_AT_ONCE: Final = 200
UNCHAINED: Final = "recorded before the log was chained"


@record
class AuditFilter:
    """The events that a reader wants. An empty text allows every value."""

    first: str = ""
    """The earliest time, as `timestamp` writes it."""
    end: str = "~"
    """Events of this time and later are left out."""
    actor: str = ""
    target: str = ""
    """The name of an object; its parts, such as a tenant's keys, are included."""
    action: str = ""
    """An action, or the kind of object that all of its actions begin with."""

    def accepts(self, fields: Mapping[str, Any]) -> bool:
        """Tell whether the reader wants an event."""
        return (
            self.first <= _time_of(fields) < self.end
            and self.actor in ("", fields.get("actor"))
            and (not self.action or _is_part(str(fields.get("action")), self.action, "."))
            and (not self.target or self._concerns_target(fields))
        )

    def _concerns_target(self, fields: Mapping[str, Any]) -> bool:
        return _is_part(str(fields.get("target")), self.target, "/") or self.target in _refused_tenants(fields)


@value
class AuditCursor:
    """The place from which a reader goes on: an entry of a month, or for 0 and less an event of an earlier version."""

    period: str
    seq: int


@record
class ShownEvent:
    """An event with its place in the log."""

    fields: Mapping[str, Any]
    """Those of the event; none if it cannot be read."""
    seq: int | None
    """The number of its entry; `None` for an event of an earlier version."""
    hash: str = ""


@record
class AuditPage:
    """Some events, newest first, and where the next page begins; `None` after the last."""

    events: list[ShownEvent]
    next_cursor: AuditCursor | None


class ReadAuditLog:
    """The use case of `GET /manage/audit`. All methods raise `StorageUnavailable`."""

    def __init__(self, chain: AuditChain, unchained: UnchainedEvents, clock: Clock) -> None:
        self._chain = chain
        self._unchained = unchained
        self._clock = clock

    async def page(self, chosen: AuditFilter, cursor: AuditCursor | None, limit: int) -> AuditPage:
        """Return at most `limit` events. A page is shorter, or empty, if few of the entries that it read are wanted."""
        events, read = list[ShownEvent](), 0
        async for place, event in self._from(chosen, cursor):
            if len(events) == limit or read == _MOST_READ:
                return AuditPage(events=events, next_cursor=place)
            read += 1
            if not event.fields or chosen.accepts(event.fields):
                events.append(event)
        return AuditPage(events=events, next_cursor=None)

    async def _from(
        self, chosen: AuditFilter, cursor: AuditCursor | None
    ) -> AsyncIterator[tuple[AuditCursor, ShownEvent]]:
        """Yield all events from the cursor on, newest first, with the place of each."""
        oldest = max(await self._oldest(), chosen.first[: len("2026-11")])
        latest = min(await self._latest(), chosen.end[: len("2026-11")])
        is_before = cursor is not None and cursor.period <= latest
        period = BillingPeriod.parse(cursor.period if cursor and is_before else latest)
        start = cursor.seq if cursor and is_before else None
        while str(period) >= oldest:
            async for each in self._of_month(str(period), start):
                yield each
            period, start = period.previous(), None

    async def _oldest(self) -> str:
        """Return the first month that has events; the current one if none has."""
        current = str(BillingPeriod.containing(self._clock.now()))
        earliest = await self._unchained.first_period() or current
        async for period in self._chain.periods():
            return min(earliest, period)
        return earliest

    async def _latest(self) -> str:
        """Return the last month that has events, or the current one. The clock of a process may have been ahead."""
        latest = str(BillingPeriod.containing(self._clock.now()))
        async for period in self._chain.periods(latest):
            latest = period
        return latest

    async def _of_month(self, period: str, start: int | None) -> AsyncIterator[tuple[AuditCursor, ShownEvent]]:
        head = await self._chain.head(period)
        last = min(head.seq if head else 0, start if start is not None else 10**16)
        while last > 0:
            first = max(1, last - _READ_AT_ONCE + 1)
            for entry in reversed([each async for each in self._chain.entries(period, first, last)]):
                yield AuditCursor(period, entry.seq), _shown(entry)
            last = first - 1
        skipped = -start if start is not None and start < 0 else 0
        older = [*reversed(await self._unchained.of_month(period))]
        for number, event in enumerate(older[skipped:], skipped):
            yield AuditCursor(period, -number), ShownEvent(fields=event.fields, seq=None)


def _shown(entry: ChainedEvent) -> ShownEvent:
    """Return an entry's event. One that something else has written may not be readable."""
    try:
        fields = json.loads(entry.text)
        _time_of(fields)
        _refused_tenants(fields)
    except (ValueError, KeyError, TypeError, RecursionError):
        fields = {}
    return ShownEvent(fields=fields, seq=entry.seq, hash=entry.sealed.hash)


def _time_of(fields: Mapping[str, Any]) -> str:
    """Return the time of an event as `timestamp` writes it. Earlier versions wrote other forms."""
    return timestamp(datetime.fromisoformat(fields["at"]))


def _refused_tenants(fields: Mapping[str, Any]) -> list[str]:
    """Return the tenants whose requests an event counts. Raises `KeyError` or `TypeError` if it names none so."""
    return [each["tenant"] for each in fields.get("refusals", ())]


def _is_part(name: str, of: str, separator: str) -> bool:
    return name == of or name.startswith(of + separator)
