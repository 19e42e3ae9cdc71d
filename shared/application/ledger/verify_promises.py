"""Check what was promised to clients: what they were told is booked, and what was admitted comes to an end."""

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
_SWEEP_PATIENCE = timedelta(minutes=10)
"""The sweep runs every minute; so long after a deadline nothing is open unless it does not run at all."""
_BOOKED = frozenset({EntryKind.CHARGE, EntryKind.EXPIRE})


class VerifyPromises:
    """Invariant I13, from the clients' side."""

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock

    async def __call__(self, period: str, acknowledged: Collection[str], only: str | None = None) -> list[Finding]:
        """What was not kept. `acknowledged` are the request ids of answers that clients have received as complete."""
        overdue = timestamp(self._clock.now() - _SWEEP_PATIENCE)
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
        """How often each of these requests is booked in a lane."""
        balance = await self._ledger.balance(lane)
        entries = self._ledger.entries(lane, 1, balance.seq if balance else 0)
        return Counter(
            [
                entry.attempt.request_id
                async for entry in entries
                if entry.kind in _BOOKED and entry.attempt and entry.attempt.request_id in acknowledged
            ]
        )
