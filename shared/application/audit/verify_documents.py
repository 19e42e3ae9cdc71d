"""Verify the invariant I19: each document is as its newest event left it."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

from shared.application.ports.audit import AuditChain, AuditedDocument, AuditedDocuments, DocumentPlace, WaitingEvents
from shared.domain.values import record

_MOST_WAITING: Final = 100_000
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
    """The documents that were changed without an event, and the number of those about which no event tells."""

    findings: list[DocumentFinding]
    unproven: int


class VerifyDocuments:
    """Compares all audited documents with all events, chained and waiting.

    Documents are read first: the event of what was read is then stored. What changes meanwhile is read again.
    """

    def __init__(self, documents: AuditedDocuments, waiting: WaitingEvents, chain: AuditChain) -> None:
        self._documents = documents
        self._waiting = waiting
        self._chain = chain

    async def __call__(self) -> DocumentsVerified:
        """Compare all documents. Raises `StorageUnavailable` and `RowsDamaged`."""
        stored = {each.place: each async for each in self._documents.all()}
        told = await self._events()
        findings, unproven = list[DocumentFinding](), 0
        for place in sorted({*stored, *told}):
            document, events = stored.get(place), sorted(told.get(place, {}).values(), key=lambda each: each.event_id)
            if not events:
                unproven += 1
                continue
            problem = _problem(document, events)
            # A document that has changed since it was read is not compared: the events are older or newer than it.
            if problem and await self._documents.get(place) == document:
                findings.append(DocumentFinding(place=place, message=problem))
            findings += [DocumentFinding(place=place, message=each) for each in _breaks(events)]
        return DocumentsVerified(findings=findings, unproven=unproven)

    async def _events(self) -> dict[DocumentPlace, dict[str, _Told]]:
        """Return the events of each place, by id. Waiting ones are read first, because they become chained ones."""
        told: defaultdict[DocumentPlace, dict[str, _Told]] = defaultdict(dict)
        for table in self._waiting.tables:
            for row in await self._waiting.waiting(table, _MOST_WAITING):
                if row.event is not None:
                    _add(told, row.event.text)
        async for period in self._chain.periods():
            head = await self._chain.head(period)
            async for entry in self._chain.entries(period, 1, head.seq if head else 0):
                _add(told, entry.text)
        return told


def _add(told: defaultdict[DocumentPlace, dict[str, _Told]], text: str) -> None:
    """Add an event that tells of a document. Of one that cannot be read, I18 has a finding."""
    try:
        fields: dict[str, Any] = json.loads(text)
        parts = fields["place"].split("/", _PLACE - 1)
        change = _Told(event_id=fields["event_id"], before=fields["before_sha256"], after=fields["after_sha256"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return
    if len(parts) == _PLACE:
        told[parts[0], parts[1], parts[2]][change.event_id] = change


def _problem(document: AuditedDocument | None, events: Sequence[_Told]) -> str:
    """Tell how a document differs from what its newest event says; empty if it does not."""
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


def _breaks(events: Sequence[_Told]) -> Iterator[str]:
    """Yield the changes between two events that neither of them tells."""
    for earlier, later in pairwise(events):
        if later.before != earlier.after:
            yield f"the document was changed between the events {earlier.event_id} and {later.event_id}"
