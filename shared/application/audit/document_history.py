"""The states of documents, as the events of the audit log tell them."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, Final, TypeAlias

from shared.application.ports.audit import AuditedDocument, DocumentPlace
from shared.domain.identifiers import BillingPeriod, moment_of
from shared.domain.values import record

_PLACE: Final = 3
"""Table, partition and row. A row may hold further slashes."""


@record
class DocumentChange:
    """The change of a document, as an event tells it."""

    event_id: str
    before: str
    after: str


DocumentHistory: TypeAlias = defaultdict[DocumentPlace, dict[str, DocumentChange]]
"""The changes of each document, by the ids of their events."""


def place_of(text: str) -> DocumentPlace | None:
    """Split the name of a place; `None` if it is none."""
    parts = text.split("/", _PLACE - 1)
    return (parts[0], parts[1], parts[2]) if len(parts) == _PLACE else None


def add_change(told: DocumentHistory, text: str) -> None:
    """Add an event that tells of a document. Of one that cannot be read, I18 has a finding."""
    try:
        fields: dict[str, Any] = json.loads(text)
        place = place_of(fields["place"])
        change = DocumentChange(
            event_id=fields["event_id"], before=fields["before_sha256"], after=fields["after_sha256"]
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return
    if place is not None:
        told[place][change.event_id] = change


class DeletedMonths:
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


def problem_of(document: AuditedDocument | None, events: Sequence[DocumentChange]) -> str:
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


def breaks_of(events: Sequence[DocumentChange]) -> Iterator[tuple[str, str]]:
    """Yield each two events between which the document was changed."""
    for earlier, later in pairwise(events):
        if later.before != earlier.after:
            yield earlier.event_id, later.event_id
