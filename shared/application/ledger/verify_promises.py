"""Verify the invariants I13 and I14: each answer that a client received is booked once, each reservation ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from datetime import timedelta

from shared.application.ledger.findings import Finding, finding_at
from shared.application.ports.books import Books, LaneRows
from shared.application.ports.clock import Clock
from shared.domain.identifiers import timestamp
from shared.domain.ledger.balance import Lane
from shared.domain.ledger.entries import EntryKind

_EXPIRY_TOLERANCE = timedelta(minutes=10)
"""Expiry runs every minute. A reservation open this long after its deadline shows that it does not run."""
_BOOKED = frozenset({EntryKind.CHARGE, EntryKind.EXPIRE})


class VerifyPromises:
    """The use case of `tallygate verify --acknowledged`. It compares a client's own records with the books.

    Without such records it checks only that each reservation ends.
    """

    def __init__(self, books: Books, clock: Clock) -> None:
        self._books = books
        self._clock = clock

    async def __call__(self, period: str, acknowledged: Collection[str], only: str | None = None) -> list[Finding]:
        """Return the violations. `acknowledged` holds the request ids of answers that clients received completely.

        Raises `LedgerUnavailable`.
        """
        found: list[Finding] = []
        booked: Counter[str] = Counter()
        lanes, _ = await self._books.lanes(period, only)
        for lane in lanes:
            stored = await self._books.balance(lane)
            last = stored.meaning.seq if stored and stored.meaning else 0
            found += self._overdue(lane, await self._books.others(lane, last))
            if acknowledged:
                booked += await self._booked(lane, last, acknowledged)
        for request_id in acknowledged:
            if booked[request_id] != 1:
                message = f"request {request_id} was answered and is booked {booked[request_id]} times"
                found.append(Finding(invariant="I13", tenant_id=only or "", message=message))
        return found

    def _overdue(self, lane: Lane, rows: LaneRows) -> Iterator[Finding]:
        overdue = timestamp(self._clock.now() - _EXPIRY_TOLERANCE)
        for rid, hold in rows.holds.items():
            if hold.deadline < overdue:
                message = f"reservation {rid} was to end by {hold.deadline} and is open"
                yield finding_at(self._books.place(lane, f"P|{rid}", "deadline"), "I14", message)

    async def _booked(self, lane: Lane, last: int, acknowledged: Collection[str]) -> Counter[str]:
        """Count the entries of a lane that book each of these requests."""
        booked: Counter[str] = Counter()
        async for stored in self._books.entries(lane, 1, last):
            entry = stored.entry
            if entry and entry.kind in _BOOKED and entry.attempt and entry.attempt.request_id in acknowledged:
                booked[entry.attempt.request_id] += 1
        return booked
