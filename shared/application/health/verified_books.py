"""The results of verifications, in words: what was covered, and what was not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from shared.application.audit.verify_audit_log import AuditVerified
from shared.application.ledger.findings import Finding
from shared.application.ledger.verify_in_turn import InTurn
from shared.application.ledger.verify_ledger import VerifyLedger
from shared.domain.health.verification import Coverage, Verification
from shared.domain.values import record

_SHOWN: Final = 10
_SHOWN_RANGES: Final = 20
_MAX_MESSAGE: Final = 1000
"""Longer messages are cut: they name what stands in damaged rows, and a state must fit into a row."""


@record
class Books:
    """Some books that are to be verified: those of a tenant, or the audit log, in one period."""

    period: str
    name: str

    @property
    def key(self) -> str:
        """The name of their verification. Keys sort by period."""
        return f"{self.period}|{self.name}"


def not_verified(books: Books, at: datetime, entries: int, reason: str) -> Verification:
    """Return the result for books of which nothing was verified, with the reason."""
    return Verification(
        name=books.name,
        period=books.period,
        at=at,
        entries=entries,
        skipped=reason,
        coverage=Coverage.NONE,
        not_covered=(f"all {entries} entries: {reason}",),
    )


def of_ledger(
    books: Books, at: datetime, entries: int, lanes: int, verify: VerifyLedger, found: Sequence[Finding]
) -> Verification:
    """Return the result for a tenant's books that were read as a whole."""
    left = tuple(f"{each.invariant} {each.reason}" for each in (*verify.chained.unproven(), *verify.not_checked()))
    compared = lanes - verify.moving
    return _result(
        books,
        at,
        entries,
        [f"{each.invariant}: {each.message}" for each in found],
        coverage=Coverage.PARTIAL if left else Coverage.WHOLE,
        entries_checked=entries,
        covered=(
            f"{entries} of {entries} entries: number, form, hash chain, cost, and sums against the balance",
            f"{compared} of {lanes} lanes: reservations, markers, transfers and rollups against the entries",
        ),
        not_covered=left,
    )


def of_turn(books: Books, at: datetime, entries: int, most: int, done: InTurn) -> Verification:
    """Return the result for large books of which some entries were read."""
    command = f"`tallygate verify --period {books.period} --tenant {books.name}`"
    left = [f"{entries - done.entries} of {entries} entries: other runs read them, in turn"]
    left.append(f"sums, limits, reservations, markers, transfers and rollups: of more than {most} entries {command}")
    ranges = [f"entries {first} to {last} of lane {lane}" for lane, (first, last) in done.read.items()]
    named = [*ranges[:_SHOWN_RANGES], *(["further lanes"] if len(ranges) > _SHOWN_RANGES else [])]
    return _result(
        books,
        at,
        entries,
        [f"{each.invariant}: {each.message}" for each in done.findings],
        coverage=Coverage.PARTIAL,
        entries_checked=done.entries,
        covered=(
            f"{done.entries} of {entries} entries: number, form, hash chain and cost of {', '.join(named) or 'none'}",
        ),
        not_covered=tuple(left),
        next_lane=done.position.lane,
        next_entry=done.position.entry,
    )


def of_audit_log(books: Books, at: datetime, events: int, verified: AuditVerified) -> Verification:
    """Return the result for the audit log of a month."""
    left = tuple(f"the mac of events with the key version {each}, which is not known" for each in verified.unknown_keys)
    return _result(
        books,
        at,
        events,
        [f"I18: {each.message}" for each in verified.findings],
        coverage=Coverage.PARTIAL if left else Coverage.WHOLE,
        entries_checked=verified.events,
        covered=(f"{verified.events} events from number {verified.first} on: number, hash chain, each event once",),
        not_covered=left,
    )


def _result(books: Books, at: datetime, entries: int, messages: Sequence[str], **covered: object) -> Verification:
    return Verification(
        name=books.name,
        period=books.period,
        at=at,
        entries=entries,
        findings=tuple(message[:_MAX_MESSAGE] for message in messages[:_SHOWN]),
        finding_count=len(messages),
        **covered,  # type: ignore[arg-type]
    )
