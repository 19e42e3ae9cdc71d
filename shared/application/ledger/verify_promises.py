"""Verify what depends on clients and on the time: I13, I14, and that no lane closes before its period ends (I9)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from datetime import UTC, datetime, timedelta

from shared.application.ledger.findings import Finding, finding_at
from shared.application.ports.books import Books, LaneRows
from shared.application.ports.clock import Clock
from shared.domain.identifiers import BillingPeriod, timestamp
from shared.domain.ledger.balance import Balance, Lane, LaneState
from shared.domain.ledger.entries import EntryKind

_TOLERANCE = timedelta(minutes=10)
"""Expiry runs every minute. A reservation open this long after its deadline shows that it does not run."""
_LONGEST_HOLD = timedelta(days=2)
"""Reservations of background responses are the longest: a day."""
_LONGEST_WAIT = timedelta(minutes=1)
"""No lease is longer, and a limit a minute refuses nobody for longer."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BOOKED = frozenset({EntryKind.CHARGE, EntryKind.EXPIRE})


class VerifyPromises:
    """The use case of `tallygate verify --acknowledged`. It compares a client's own records with the books.

    Without such records it checks only that each reservation ends, and that no lane is withheld from its tenant.
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
            balance = stored.meaning if stored else None
            last = balance.seq if balance else 0
            found += self._unending(lane, await self._books.others(lane, last))
            if balance:
                found += self._withheld(lane, balance)
            if acknowledged:
                booked += await self._booked(lane, last, acknowledged)
        for request_id in acknowledged:
            if booked[request_id] != 1:
                message = f"request {request_id} was answered and is booked {booked[request_id]} times"
                found.append(Finding(invariant="I13", tenant_id=only or "", message=message))
        return found

    def _unending(self, lane: Lane, rows: LaneRows) -> Iterator[Finding]:
        now = self._clock.now()
        overdue, latest = timestamp(now - _TOLERANCE), timestamp(now + _LONGEST_HOLD)
        for rid, hold in rows.holds.items():
            place = self._books.place(lane, f"P|{rid}", "deadline")
            if hold.deadline < overdue:
                message = f"reservation {rid} was to end by {hold.deadline} and is open"
                yield finding_at(place, "I14", message)
            elif hold.deadline > latest:
                yield finding_at(place, "I14", f"reservation {rid} is to end by {hold.deadline}, which is too late")

    def _withheld(self, lane: Lane, balance: Balance) -> Iterator[Finding]:
        """Return what a balance states so that the lane admits no requests, though nothing in the gateway writes it."""
        now = self._clock.now()
        if balance.state is not LaneState.OPEN and now < BillingPeriod.parse(lane.period).end - _TOLERANCE:
            message = f"the lane is {balance.state}, and its period is not over"
            yield finding_at(self._books.place(lane, "B", "state"), "I9", message)
        latest = now + _LONGEST_WAIT + _TOLERANCE
        if balance.owner_until > timestamp(latest):
            message = f"the lane is leased until {balance.owner_until}, which is too late"
            yield finding_at(self._books.place(lane, "B", "owner_until"), "I14", message)
        # In another lane a request may be larger than the lane's part of the limit, and then the next waits longer.
        if lane == lane.vault:
            for unit in ("requests", "tokens"):
                if getattr(balance.arrivals, unit) > (latest - _EPOCH) // timedelta(microseconds=1):
                    message = f"the limit of {unit} a minute refuses requests for longer than a minute"
                    yield finding_at(self._books.place(lane, "B", f"{unit}_arrival"), "I14", message)

    async def _booked(self, lane: Lane, last: int, acknowledged: Collection[str]) -> Counter[str]:
        """Count the entries of a lane that book each of these requests."""
        booked: Counter[str] = Counter()
        async for stored in self._books.entries(lane, 1, last):
            entry = stored.entry
            if entry and entry.kind in _BOOKED and entry.attempt and entry.attempt.request_id in acknowledged:
                booked[entry.attempt.request_id] += 1
        return booked
