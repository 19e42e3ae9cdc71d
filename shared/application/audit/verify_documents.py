"""Verify the invariant I19: each document is as its newest event left it."""

from __future__ import annotations

from collections import defaultdict
from typing import Final

from shared.application.audit.document_history import (
    DeletedMonths,
    DocumentHistory,
    add_change,
    breaks_of,
    problem_of,
)
from shared.application.audit.verify_audit_log import MAX_SEQ
from shared.application.ports.audit import (
    AuditChain,
    AuditedDocuments,
    AuditPeriods,
    DocumentPlace,
    StoredBaseline,
    WaitingEvents,
)
from shared.domain.values import record

MOST_WAITING: Final = 100_000


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
        deleted = DeletedMonths(await self._deleted_months())
        findings, unproven = list[DocumentFinding](), 0
        for place in sorted({*stored, *told}):
            document, events = stored.get(place), sorted(told.get(place, {}).values(), key=lambda each: each.event_id)
            named = document.event_id if document else ""
            problem = problem_of(document, events)
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
                for two in breaks_of(events)
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

    async def _events(self) -> DocumentHistory:
        """Return the events of each place, by id. Waiting ones are read first, because they become chained ones."""
        told: DocumentHistory = defaultdict(dict)
        for table in self._waiting.tables:
            for row in await self._waiting.waiting(table, MOST_WAITING):
                if row.event is not None:
                    add_change(told, row.event.text)
        async for period in self._chain.periods():
            async for entry in self._chain.entries(period, 1, MAX_SEQ):
                add_change(told, entry.text)
        return told
