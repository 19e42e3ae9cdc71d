"""Ports to the audit log."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from shared.domain.audit.audit_chain import AuditHead, ChainedEvent, WaitingEvent
from shared.domain.audit.audit_period import AuditPeriod
from shared.domain.audit.baseline import Baseline
from shared.domain.audit.events import AuditEvent
from shared.domain.audit.protections import WeakSettings
from shared.domain.values import record, value


class AuditOutbox(Protocol):
    """The events that wait to be chained and belong to no document. All methods raise `StorageUnavailable`."""

    async def append(self, event: AuditEvent) -> None:
        """Store an event. Raises `AlreadyExists` if one with this id waits."""
        ...

    async def withdraw(self, event: AuditEvent) -> None:
        """Delete an event that waits. Harmless if it is chained."""
        ...


@record
class OutboxEntry:
    """A row in which an event waits."""

    table: str
    partition: str
    event_id: str
    event: WaitingEvent | None
    """`None` if the row holds no event."""
    fault: str = ""
    """The reason for which it holds none."""

    @property
    def name(self) -> str:
        """The name of the row in reports."""
        return f"{self.table}/{self.partition}/{self.event_id}"


class WaitingEvents(Protocol):
    """The rows of all tables in which events wait. All methods raise `StorageUnavailable`."""

    @property
    def tables(self) -> Sequence[str]:
        """The tables that have such rows."""
        ...

    async def waiting(self, table: str, limit: int) -> Sequence[OutboxEntry]:
        """Return at most `limit` of the rows of a table, in no order."""
        ...

    async def remove(self, entry: OutboxEntry) -> None:
        """Delete a row, because its event is chained. Harmless if there is none."""
        ...


class AuditChain(Protocol):
    """The chains of events. All methods raise `StorageUnavailable`."""

    async def append(self, period: str, events: Sequence[WaitingEvent]) -> int:
        """Add events to the end of a month's chain, in this order, but for those that it has. Returns their number.

        Each event and the row that makes it unique are one transaction with the new head. So an event is chained once,
        also if two processes do it at once, or one died after it. Several transactions if there are many events.
        """
        ...

    async def head(self, period: str) -> AuditHead | None:
        """Return the end of a month's chain; `None` if it has none. Raises `RowsDamaged` if it cannot be read."""
        ...

    def entries(self, period: str, first: int, last: int) -> AsyncIterator[ChainedEvent]:
        """Yield the entries from number `first` to `last`, ascending. An entry that is missing is left out."""
        ...

    def periods(self, first: str = "", end: str = "") -> AsyncIterator[str]:
        """Yield each month with `first <= month < end` that has a chain, ascending. Costs a request for each."""
        ...

    def unique_ids(self, period: str) -> AsyncIterator[tuple[str, int]]:
        """Yield the id of each event that is marked as chained, with the number that the mark names."""
        ...

    async def remove(self, period: str, last: int) -> int:
        """Delete the entries of a month up to number `last`, and their marks. The head stays. Returns their number.

        Idempotent. The last entries are deleted first, so those that are left recompute. Several transactions: after
        an error some are deleted.
        """
        ...


@value
class UnchainedEvent:
    """An event of an earlier version, which has no place in a chain."""

    event_id: str
    fields: Mapping[str, Any]


class UnchainedEvents(Protocol):
    """The events that earlier versions have stored. All methods raise `StorageUnavailable`."""

    async def first_period(self) -> str | None:
        """Return the month of the earliest of them; `None` if there are none."""
        ...

    async def of_month(self, period: str) -> Sequence[UnchainedEvent]:
        """Return at most 10,000 events of a month, in the order of their ids."""
        ...

    async def periods(self, end: str) -> Sequence[str]:
        """Return the months before `end` that have such events, ascending."""
        ...

    async def remove(self, period: str) -> int:
        """Delete all events of a month. Returns their number. Idempotent; after an error some are deleted."""
        ...


class AuditPeriods(Protocol):
    """The states of months of the log. All methods raise `StorageUnavailable`."""

    async def get(self, period: str) -> AuditPeriod | None:
        """Return the state of a month; `None` for one that was never on hold and of which nothing is deleted."""
        ...

    async def replace(self, changed: AuditPeriod, event: AuditEvent) -> None:
        """Store a state together with its event. `event.before` is the state that it replaces.

        Raises `VersionConflict` if another state is stored.
        """
        ...


DocumentPlace: TypeAlias = tuple[str, str, str]
"""Table, partition and row of a document."""


@record
class AuditedDocument:
    """A stored document whose changes are audited."""

    place: DocumentPlace
    target: str
    """The name of the object, as events have it."""
    sha256: str
    """SHA-256 of its text."""
    event_id: str
    """The event that was stored with it; empty for a document of an earlier version."""
    text: str = ""
    """The text of a price; empty for others, which may hold secrets."""


class AuditedDocuments(Protocol):
    """All such documents. All methods raise `StorageUnavailable`."""

    def all(self) -> AsyncIterator[AuditedDocument]:
        """Yield each document as it is stored now. Those that change meanwhile are read before or after it."""
        ...

    async def get(self, place: DocumentPlace) -> AuditedDocument | None:
        """Return the document at a place; `None` if there is none."""
        ...

    async def add_event(self, document: AuditedDocument, event: AuditEvent) -> None:
        """Store an event with an unchanged document that has none. Raises `VersionConflict` if it is another by now."""
        ...


class StoredBaseline(Protocol):
    """The end of the baseline. All methods raise `StorageUnavailable`."""

    async def is_complete(self) -> bool:
        """Tell whether it is stored, with whatever content."""
        ...

    async def complete(self, baseline: Baseline, event: AuditEvent) -> None:
        """Store it together with its event. Raises `AlreadyExists`."""
        ...


class StoredProtections(Protocol):
    """The weak settings that were recorded last. All methods raise `StorageUnavailable`."""

    async def get(self) -> WeakSettings | None:
        """Return them; `None` if none were ever recorded."""
        ...

    async def replace(self, changed: WeakSettings, event: AuditEvent) -> None:
        """Store them together with their event. `event.before` is what they replace. Raises `VersionConflict`."""
        ...
