"""Verify the states of documents in a package by the events of its audit log."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from shared.application.audit.document_history import (
    DeletedMonths,
    DocumentHistory,
    add_change,
    breaks_of,
    place_of,
    problem_of,
)
from shared.application.audit.verify_anchors import LONGEST_GAP, moment_of
from shared.application.evidence.audit_lines import PRICES, canonical_object_of
from shared.application.ledger.findings import Finding, NotChecked
from shared.application.ports.audit import AuditedDocument, DocumentPlace
from shared.domain.identifiers import first_rid

INVARIANT: Final = "I19"
_BASELINE: Final = ("audit", "settings", "baseline")
"""The document that is there once each document has an event."""
_EVENT_ID: Final = re.compile(r"[0-9a-f]{32}")
_NAMES: Final = {"event_id", "place", "sha256"}


class ReplayDocuments:
    """Compares each document with its newest event, and its events with each other."""

    def __init__(self, last_at: str) -> None:
        """`last_at` is the time of the newest signed leaf; empty if there is no log of heads."""
        self._last = moment_of(last_at) if last_at else None
        self._told: DocumentHistory = defaultdict(dict)
        self._stored: dict[DocumentPlace, AuditedDocument] = {}
        self._removed: dict[DocumentPlace, str] = {}
        self._unproven = 0
        self._waiting = 0

    def tell(self, event: str) -> None:
        """Take an event of the audit log."""
        add_change(self._told, event)

    @property
    def prices(self) -> Iterator[AuditedDocument]:
        """The documents of prices, with their texts."""
        return (document for place, document in self._stored.items() if place[0] == PRICES)

    def __call__(self, lines: Iterable[bytes], deleted: Sequence[str]) -> Iterator[Finding]:
        """Read the file, and yield what is wrong. Retention has deleted events of the months `deleted`."""
        yield from self._read(lines)
        months, is_complete = DeletedMonths(deleted), _BASELINE in self._stored
        for place in sorted({*self._stored, *self._removed, *self._told}):
            yield from self._compare(place, months, is_complete=is_complete)

    def not_checked(self) -> Iterator[NotChecked]:
        """Yield what the events cannot prove."""
        if self._unproven:
            reason = f"{self._unproven} documents have no event: they are older than the audit log, or retention"
            yield NotChecked(invariant=INVARIANT, reason=f"{reason} deleted it")
        if self._waiting:
            reason = f"{self._waiting} documents: the events of their newest changes were not chained yet"
            yield NotChecked(invariant=INVARIANT, reason=reason, is_open=True)

    def _read(self, lines: Iterable[bytes]) -> Iterator[Finding]:
        before = ""
        for number, line in enumerate(lines, 1):
            row, is_canonical = canonical_object_of(line)
            place, name = place_of(str(row.get("place", ""))), str(row.get("place", ""))
            if place is None or not is_canonical or not _is_line(row, place) or name <= before:
                yield _at(("", "", ""), f"line {number} of the documents is not in its form or order")
                continue
            before = name
            self._add(place, row)

    def _add(self, place: DocumentPlace, row: dict[str, Any]) -> None:
        if not row["sha256"]:
            self._removed[place] = row["event_id"]
            return
        text = row.get("text", "")
        self._stored[place] = AuditedDocument(
            place=place, target="", sha256=row["sha256"], event_id=row["event_id"], text=text
        )

    def _compare(self, place: DocumentPlace, deleted: DeletedMonths, *, is_complete: bool) -> Iterator[Finding]:
        document = self._stored.get(place)
        events = sorted(self._told.get(place, {}).values(), key=lambda each: each.event_id)
        newest = events[-1].event_id if events else ""
        named = document.event_id if document else self._removed.get(place, "")
        problem = problem_of(document, events)
        if place in self._removed and named != newest:
            problem = f"the document was removed with event {named}, which is missing"
        if is_complete and not (events or named):
            problem = "the document has no event, and the baseline is complete"
        if problem and named > newest and self._is_recent(named):
            self._waiting += 1
        elif problem and deleted.has_one_after(newest, document):
            self._unproven += 1
        elif problem:
            yield _at(place, problem)
        self._unproven += not (events or named or is_complete)
        for earlier, later in breaks_of(events):
            if not deleted.has_one_between(earlier, later):
                yield _at(place, f"the document was changed between the events {earlier} and {later}")

    def _is_recent(self, event_id: str) -> bool:
        """Tell whether an event may be newer than the newest leaf: then it may wait to be chained."""
        earliest = "" if self._last is None else first_rid(self._last - LONGEST_GAP)
        return bool(_EVENT_ID.fullmatch(event_id)) and event_id >= earliest


def _is_line(row: dict[str, Any], place: DocumentPlace) -> bool:
    names = _NAMES | {"text"} if place[0] == PRICES and row.get("sha256") else _NAMES
    if row.keys() != names or not all(isinstance(value, str) for value in row.values()):
        return False
    return place[0] != PRICES or not row["sha256"] or hashlib.sha256(row["text"].encode()).hexdigest() == row["sha256"]


def _at(place: DocumentPlace, message: str) -> Finding:
    table, partition, row = place
    return Finding(invariant=INVARIANT, tenant_id="", message=message, table=table, partition=partition, row=row)
