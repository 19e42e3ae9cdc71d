"""Verify the invariant I19: each document is as its newest event left it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

from shared.application.audit.verify_audit_log import MAX_SEQ
from shared.application.ports.audit import (
    AuditChain,
    AuditedDocument,
    AuditedDocuments,
    AuditPeriods,
    DocumentPlace,
    StoredBaseline,
    WaitingEvents,
)
from shared.domain.identifiers import BillingPeriod, moment_of
from shared.domain.values import record

MOST_WAITING: Final = 100_000
_PLACE: Final = 3
"""Table, partition and row. A row may hold further slashes."""


@record
class _Told:
    """The change of a document, as an event tells it."""

    event_id: str
    before: str
    after: str


@record
class DocumentFinding:
    """A document that was changed without an event."""

    place: DocumentPlace
    message: str


@record
class DocumentsVerified:
    """The documents that were changed without an event, and the number of those of which a state is not proved.

    Those are documents without an event until the baseline is complete, and those whose events retention has deleted.
    """

    findings: list[DocumentFinding]
    unproven: int


class VerifyDocuments:
    """Compares all audited documents with all events, chained and waiting.

    Documents are read first: the event of what was read is then stored. What changes meanwhile is read again.
    """

    def __init__(
        self,
        documents: AuditedDocuments,
        waiting: WaitingEvents,
        chain: AuditChain,
        periods: AuditPeriods,
        baseline: StoredBaseline,
    ) -> None:
        self._baseline = baseline
        self._documents = documents
        self._waiting = waiting
        self._chain = chain
        self._periods = periods

    async def __call__(self) -> DocumentsVerified:
        """Compare all documents. Raises `StorageUnavailable`."""
        is_complete = await self._baseline.is_complete()
        stored = {each.place: each async for each in self._documents.all()}
        told = await self._events()
        deleted = _Deleted(await self._deleted_months())
        findings, unproven = list[DocumentFinding](), 0
        for place in sorted({*stored, *told}):
            document, events = stored.get(place), sorted(told.get(place, {}).values(), key=lambda each: each.event_id)
            named = document.event_id if document else ""
            problem = _problem(document, events)
            if is_complete and not (events or named):
                problem = "the document has no event, and the baseline is complete"
            # A document that has changed since it was read is not compared: the events are older or newer than it.
            if problem and deleted.has_one_after(events[-1].event_id if events else "", document):
                unproven += 1
            elif problem and await self._documents.get(place) == document:
                findings.append(DocumentFinding(place=place, message=problem))
            unproven += not (events or named or is_complete)
            findings += [
                DocumentFinding(
                    place=place, message=f"the document was changed between the events {two[0]} and {two[1]}"
                )
                for two in _breaks(events)
                if not deleted.has_one_between(*two)
            ]
        return DocumentsVerified(findings=findings, unproven=unproven)

    async def _deleted_months(self) -> list[str]:
        """Return the months of which retention has deleted events. They are read last: all others were complete."""
        found = []
        async for period in self._chain.periods():
            state = await self._periods.get(period)
            if state is not None and state.deleted is not None:
                found.append(period)
        return found

    async def _events(self) -> dict[DocumentPlace, dict[str, _Told]]:
        """Return the events of each place, by id. Waiting ones are read first, because they become chained ones."""
        told: defaultdict[DocumentPlace, dict[str, _Told]] = defaultdict(dict)
        for table in self._waiting.tables:
            for row in await self._waiting.waiting(table, MOST_WAITING):
                if row.event is not None:
                    _add(told, row.event.text)
        async for period in self._chain.periods():
            async for entry in self._chain.entries(period, 1, MAX_SEQ):
                _add(told, entry.text)
        return told


def _add(told: defaultdict[DocumentPlace, dict[str, _Told]], text: str) -> None:
    """Add an event that tells of a document. Of one that cannot be read, I18 has a finding."""
    try:
        fields: dict[str, Any] = json.loads(text)
        parts = fields["place"].split("/", _PLACE - 1)
        change = _Told(event_id=fields["event_id"], before=fields["before_sha256"], after=fields["after_sha256"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return
    if len(parts) == _PLACE:
        told[parts[0], parts[1], parts[2]][change.event_id] = change


class _Deleted:
    """The months of which retention has deleted events."""

    def __init__(self, months: Sequence[str]) -> None:
        self._months = months

    def has_one_between(self, earlier: str, later: str) -> bool:
        """Tell whether an event between two others may be one that retention has deleted."""
        return any(_month_of(earlier) <= month <= _month_of(later) for month in self._months)

    def has_one_after(self, last: str, document: AuditedDocument | None) -> bool:
        """Tell whether the event of a document's state, or of its removal, may be one that retention has deleted.

        `last` is the last of its events that is there; empty if there is none.
        """
        if document is None:
            return any(_month_of(last) <= month for month in self._months)
        return document.event_id > last and _month_of(document.event_id) in self._months


def _month_of(event_id: str) -> str:
    """Return the month of an event. Empty for an id that the gateway did not make."""
    try:
        return str(BillingPeriod.containing(moment_of(event_id)))
    except (ValueError, OverflowError):
        return ""


def _problem(document: AuditedDocument | None, events: Sequence[_Told]) -> str:
    """Tell how a document differs from what its newest event says; empty if it does not."""
    if not events:
        named = document.event_id if document else ""
        return f"the document was written with event {named}, which is missing" if named else ""
    newest = events[-1]
    if document is None:
        return f"the document is gone, and event {newest.event_id} left it there" if newest.after else ""
    if not newest.after:
        return f"the document is there, and event {newest.event_id} removed it"
    if document.sha256 != newest.after:
        return f"the document is not as event {newest.event_id} left it"
    if document.event_id != newest.event_id:
        return f"the document was written again after event {newest.event_id}, without an event"
    return ""


def _breaks(events: Sequence[_Told]) -> Iterator[tuple[str, str]]:
    """Yield each two events between which the document was changed."""
    for earlier, later in pairwise(events):
        if later.before != earlier.after:
            yield earlier.event_id, later.event_id
