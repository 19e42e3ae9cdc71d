"""What one commit does to a lane: operations in, a new balance and row changes out.

Pure: `shared/adapters/tables/committer.py` makes a `Plan` durable.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeAlias, TypedDict, Unpack

from shared.domain.audit import HashChain
from shared.domain.errors import GatewayError, PeriodNotOpen
from shared.domain.identifiers import timestamp
from shared.domain.lanes import room
from shared.domain.ledger import (
    RECENT_COMMITS,
    Amount,
    Attempt,
    Balance,
    EntryKind,
    Fields,
    LaneState,
    LedgerEntry,
    Limit,
    Outcome,
    Refusal,
    Reservation,
)
from shared.domain.rate_limit import RateLimits
from shared.domain.usage import Usage
from shared.domain.values import value


@value
class Open:
    """Open the lane if it is not open yet, and tell its balance."""

    rows = 0
    rid = ""


@value
class _OfReservation:
    reservation: Reservation

    @property
    def rid(self) -> str:
        return self.reservation.rid


@value
class Reserve(_OfReservation):
    """Hold an upper bound before the upstream call."""

    rates: RateLimits = RateLimits()
    rows = 1


@value
class Settle(_OfReservation):
    """Record what was consumed (or that nothing was) and give back the rest of the hold."""

    outcome: Outcome
    rows = 2


@value
class Expire(_OfReservation):
    """Resolve a reservation past its deadline by its tenant's policy, leaving a marker for the late settlement."""

    outcome: Outcome
    rows = 3


@value
class LateSettle(_OfReservation):
    """The settlement of a reservation that has expired: charges the difference to what expiry charged."""

    outcome: Outcome
    charged: Amount
    charged_usage: Usage
    rows = 2


@value
class Adjust(_OfReservation):
    """The settlement of a reservation whose period has closed: charges the difference in a later period, once."""

    outcome: Outcome
    charged: Amount
    charged_usage: Usage
    rows = 2


@value
class _OfTransfer:
    """`amount` of room, under an id that both sides keep."""

    xid: str
    other: int
    amount: Amount
    rows = 2

    @property
    def rid(self) -> str:
        return self.xid


@value
class TransferOut(_OfTransfer):
    """Give room to the lane `other`. Raises `RoomGone` where there is no longer so much of it."""


@value
class TransferIn(_OfTransfer):
    """Take the room that the lane `other` has given, once."""


@value
class Claim:
    """Give the lane to one process for a while, so that nobody else writes to it. Raises `LaneTaken`."""

    owner: str
    until: str
    rows = 0
    rid = ""


@value
class ChangeLimit:
    """Replace the period's limit, with who did it and why."""

    limit: Limit
    actor: str
    reason: str
    rows = 1
    rid = ""


@value
class BeginClosing:
    """Admit no further reservation; what is open may still resolve."""

    rows = 0
    rid = ""


@value
class Close:
    """Write the last entry. Requires that no reservation is open."""

    rows = 1
    rid = ""


Transfer: TypeAlias = TransferOut | TransferIn
_LaneChange: TypeAlias = Transfer | Claim | ChangeLimit | BeginClosing | Close
_Change: TypeAlias = Settle | Expire | LateSettle | Adjust | _LaneChange
Operation: TypeAlias = Open | Reserve | _Change


@value
class InsertReservation:
    reservation: Reservation
    commit_id: str


@value
class DeleteReservation:
    rid: str


@value
class InsertEntry:
    """A numbered entry's fields, sealed with its hash."""

    seq: int
    fields: Fields


@value
class InsertMarker:
    """The expired marker `X`: what was charged at expiry, until the late settlement comes."""

    rid: str
    charged: Amount
    usage: Usage


@value
class DeleteMarker:
    rid: str


@value
class InsertLateMark:
    """The row `L`, which makes the adjustment of a reservation unique in its period."""

    rid: str


@value
class InsertTransfer:
    """The row `G`, which makes each side of a transfer unique and tells what is on its way."""

    transfer: Transfer


Change: TypeAlias = (
    InsertReservation | DeleteReservation | InsertEntry | InsertMarker | DeleteMarker | InsertLateMark | InsertTransfer
)


class ReservationsOpen(GatewayError):
    """A lane with open reservations cannot be closed."""


class RoomGone(GatewayError):
    """A lane no longer has the room that it was to give away."""


class LaneTaken(GatewayError):
    """A lane belongs to another process."""


class EntryFacts(TypedDict, total=False):
    """What an entry states beyond its number, kind and commit."""

    rid: str
    amount: Amount
    reserved: Amount
    attempt: Attempt
    outcome: Outcome
    limit: Limit
    moved: Amount
    actor: str
    reason: str
    reference: str


@dataclass(slots=True)
class Plan:
    """What one commit would do: the balance after it, the rows it changes, and what it refuses."""

    balance: Balance
    commit_id: str
    now: datetime
    chain: HashChain
    changes: list[Change] = field(default_factory=list)
    refused: list[tuple[Reserve, Refusal]] = field(default_factory=list)
    failed: list[tuple[Operation, GatewayError]] = field(default_factory=list)
    is_empty: bool = True

    def apply(self, operation: Operation) -> None:
        """Add one operation, or record why it is refused."""
        try:
            if isinstance(operation, Reserve):
                self._reserve(operation)
            elif not isinstance(operation, Open):
                self._change(operation)
        except GatewayError as error:
            self.failed.append((operation, error))

    def _reserve(self, operation: Reserve) -> None:
        balance, reservation = self.balance, operation.reservation
        refusal = balance.refusal(reservation.amount)
        arrivals, wait_seconds = balance.arrivals.admit(operation.rates, reservation.amount.tokens, self.now)
        if refusal is None and wait_seconds > 0:
            refusal = Refusal.RATE
        if refusal is not None:
            self.refused.append((operation, refusal))
            return
        balance.arrivals = arrivals
        balance.reserved += reservation.amount
        balance.open_reservations += 1
        self.changes.append(InsertReservation(reservation, self.commit_id))
        self.is_empty = False

    def _change(self, operation: _Change) -> None:
        if self.balance.state is LaneState.CLOSED:
            if isinstance(operation, BeginClosing | Close):
                return
            raise PeriodNotOpen("The billing period is closed.")
        if isinstance(operation, Settle | Expire):
            self._resolve(operation)
        elif isinstance(operation, LateSettle | Adjust):
            self._settle_late(operation)
        else:
            self._change_lane(operation)
        self.is_empty = False

    def _change_lane(self, operation: _LaneChange) -> None:
        if isinstance(operation, TransferOut | TransferIn):
            self._transfer(operation)
        elif isinstance(operation, Claim):
            self._claim(operation)
        elif isinstance(operation, ChangeLimit):
            self.balance.limit = operation.limit
            self._append(EntryKind.LIMIT, limit=operation.limit, actor=operation.actor, reason=operation.reason)
        elif isinstance(operation, BeginClosing):
            self.balance.state = LaneState.CLOSING
        else:
            self._close()

    def _resolve(self, operation: Settle | Expire) -> None:
        reservation, outcome = operation.reservation, operation.outcome
        self.balance.reserved -= reservation.amount
        self.balance.open_reservations -= 1
        self.changes.append(DeleteReservation(reservation.rid))
        self._book(reservation, outcome, outcome.kind)
        self.balance.excess += outcome.amount.beyond(reservation.amount)
        if isinstance(operation, Expire):
            self.changes.append(InsertMarker(reservation.rid, outcome.amount, outcome.usage))

    def _settle_late(self, operation: LateSettle | Adjust) -> None:
        """Charge the difference to what expiry charged. What was not charged then was not held any longer: excess."""
        reservation, outcome = operation.reservation, operation.outcome
        difference = replace(
            outcome, amount=outcome.amount - operation.charged, usage=outcome.usage - operation.charged_usage
        )
        if isinstance(operation, LateSettle):
            self.changes.append(DeleteMarker(reservation.rid))
            self._book(reservation, difference, EntryKind.LATE)
        else:
            self.changes.append(InsertLateMark(reservation.rid))
            reference = f"{reservation.lane.period}/{reservation.rid}"
            self._book(reservation, difference, EntryKind.ADJUST, reference)
        self.balance.excess += outcome.amount.beyond(operation.charged)

    def _transfer(self, operation: Transfer) -> None:
        moved = operation.amount
        kind = EntryKind.TRANSFER_IN
        if isinstance(operation, TransferOut):
            if moved.beyond(room(self.balance)) != Amount():
                raise RoomGone("The lane no longer has the room that it was to give away.")
            moved, kind = Amount() - moved, EntryKind.TRANSFER_OUT
        self.balance.moved += moved
        self.changes.append(InsertTransfer(operation))
        self._append(kind, moved=moved, reference=f"{operation.other:02}/{operation.xid}")

    def _claim(self, operation: Claim) -> None:
        balance = self.balance
        if balance.owner != operation.owner and balance.owner_until > timestamp(self.now):
            raise LaneTaken("The lane belongs to another process.")
        balance.owner, balance.owner_until = operation.owner, operation.until

    def _close(self) -> None:
        if self.balance.open_reservations:
            raise ReservationsOpen(f"{self.balance.open_reservations} reservations are still open.")
        self._append(EntryKind.CLOSE)
        self.balance.state = LaneState.CLOSED

    def _book(self, reservation: Reservation, outcome: Outcome, kind: EntryKind, reference: str = "") -> None:
        self.balance.used += outcome.amount
        self._append(
            kind,
            rid=reservation.rid,
            amount=outcome.amount,
            reserved=reservation.amount,
            attempt=reservation.attempt,
            outcome=outcome,
            reference=reference,
        )

    def _append(self, kind: EntryKind, **facts: Unpack[EntryFacts]) -> None:
        balance = self.balance
        balance.seq += 1
        entry = LedgerEntry(balance.seq, kind, timestamp(self.now), self.commit_id, **facts)
        fields = entry.fields()
        balance.head = self.chain.extend(balance.head, fields)
        fields["hash"] = balance.head
        self.changes.append(InsertEntry(balance.seq, fields))


def plan_commit(
    base: Balance, operations: Iterable[Operation], commit_id: str, now: datetime, chain: HashChain
) -> Plan:
    """What committing `operations` in this order does to a lane whose balance is `base`."""
    balance = base.copy()
    plan = Plan(balance, commit_id, now, chain)
    for operation in operations:
        plan.apply(operation)
    balance.version += 1
    balance.recent = (commit_id, *base.recent[: RECENT_COMMITS - 1])
    return plan
