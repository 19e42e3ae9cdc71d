"""Verify invariant I13: each answer that a client received is booked once, and each reservation ends."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import timedelta

from shared.application.ledger.verify_ledger import Finding
from shared.application.ports.clock import Clock
from shared.application.ports.ledger import Ledger
from shared.domain.identifiers import timestamp
from shared.domain.ledger.balance import Lane
from shared.domain.ledger.entries import EntryKind

_INVARIANT = "I13"
_EXPIRY_TOLERANCE = timedelta(minutes=10)
"""Expiry runs every minute. A reservation open this long after its deadline shows that it does not run."""
_BOOKED = frozenset({EntryKind.CHARGE, EntryKind.EXPIRE})


class VerifyPromises:
    """The use case of `tallygate verify --acknowledged`. It compares a client's own records with the books."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock

    async def __call__(self, period: str, acknowledged: Collection[str], only: str | None = None) -> list[Finding]:
        """Return the violations. `acknowledged` holds the request ids of answers that clients received completely.

        Raises `LedgerUnavailable`.
        """
        overdue = timestamp(self._clock.now() - _EXPIRY_TOLERANCE)
        found: list[Finding] = []
        booked: Counter[str] = Counter()
        async for lane in self._ledger.lanes(period, only):
            async for held in self._ledger.reservations(lane):
                if held.deadline < overdue:
                    message = f"reservation {held.rid} was to end by {held.deadline} and is open"
                    found.append(Finding(_INVARIANT, lane.tenant_id, message))
            if acknowledged:
                booked += await self._booked(lane, acknowledged)
        for request_id in acknowledged:
            if booked[request_id] != 1:
                message = f"request {request_id} was answered and is booked {booked[request_id]} times"
                found.append(Finding(_INVARIANT, only or "", message))
        return found

    async def _booked(self, lane: Lane, acknowledged: Collection[str]) -> Counter[str]:
        """Count the entries of a lane that book each of these requests."""
        balance = await self._ledger.balance(lane)
        entries = self._ledger.entries(lane, 1, balance.seq if balance else 0)
        return Counter(
            [
                entry.attempt.request_id
                async for entry in entries
                if entry.kind in _BOOKED and entry.attempt and entry.attempt.request_id in acknowledged
            ]
        )
