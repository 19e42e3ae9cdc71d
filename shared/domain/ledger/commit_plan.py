"""What one commit does to a lane: operations in, a new balance and row changes out.

Pure: `shared/adapters/tables/committer.py` makes a `Plan` durable.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypeAlias

from shared.domain.audit.hash_chain import HashChain
from shared.domain.errors import GatewayError, InvalidRequest, PeriodNotOpen
from shared.domain.identifiers import timestamp
from shared.domain.ledger.amounts import MAX_PERIOD_TOKENS, NOTHING, Amount, Limit
from shared.domain.ledger.balance import RECENT_COMMITS, Balance, LaneState, Refusal
from shared.domain.ledger.entries import Attempt, EntryKind, LedgerEntry, Outcome, Reservation
from shared.domain.ledger.lanes import available
from shared.domain.ledger.operations import (
    Adjust,
    BeginClosing,
    ChangeLimit,
    Claim,
    Close,
    Expire,
    Grant,
    InsufficientAvailable,
    LaneChange,
    LaneLeased,
    LateSettle,
    Open,
    Operation,
    ReservationsOpen,
    Reserve,
    ResolvingChange,
    Settle,
    Transfer,
    TransferIn,
    TransferOut,
)
from shared.domain.pricing.money import MAX_PERIOD_PUSD
from shared.domain.pricing.usage import Usage
from shared.domain.stored_fields import Fields
from shared.domain.values import value


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
    """The row `L`, which makes a grant, or the adjustment of a reservation, unique in its period."""

    rid: str


@value
class InsertTransfer:
    """The row `G`, which makes each side of a transfer unique and tells what is on its way."""

    transfer: Transfer


Change: TypeAlias = (
    InsertReservation | DeleteReservation | InsertEntry | InsertMarker | DeleteMarker | InsertLateMark | InsertTransfer
)


@dataclass(slots=True, kw_only=True)
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
    _written_now: str = ""

    @property
    def at(self) -> str:
        """`now`, as all entries of the commit have it."""
        if not self._written_now:
            self._written_now = timestamp(self.now)
        return self._written_now

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
        arrivals, wait_seconds = balance.arrivals.admit(operation.rate_limits, reservation.amount.tokens, self.now)
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

    def _change(self, operation: ResolvingChange | LaneChange) -> None:
        if self.balance.state is LaneState.CLOSED:
            if isinstance(operation, BeginClosing | Close):
                return
            raise PeriodNotOpen("The billing period is closed.")
        if isinstance(operation, (Settle, Expire)):
            self._resolve(operation)
        elif isinstance(operation, LateSettle | Adjust):
            self._settle_late(operation)
        else:
            self._change_lane(operation)
        self.is_empty = False

    def _change_lane(self, operation: LaneChange) -> None:
        if isinstance(operation, TransferOut | TransferIn):
            self._transfer(operation)
        elif isinstance(operation, Claim):
            self._claim(operation)
        elif isinstance(operation, Grant):
            self._grant(operation)
        elif isinstance(operation, ChangeLimit):
            limit = self.balance.limit = operation.limit.plus(self.balance.granted)
            self._append(EntryKind.LIMIT, limit=limit, actor=operation.actor, reason=operation.reason)
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
        self.balance.excess += outcome.amount.excess_over(reservation.amount)
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
        self.balance.excess += outcome.amount.excess_over(operation.charged)

    def _transfer(self, operation: Transfer) -> None:
        transferred = operation.amount
        kind = EntryKind.TRANSFER_IN
        if isinstance(operation, TransferOut):
            if transferred.excess_over(available(self.balance)) != Amount():
                raise InsufficientAvailable("The lane no longer has the room that it was to give away.")
            transferred, kind = Amount() - transferred, EntryKind.TRANSFER_OUT
        self.balance.transferred += transferred
        self.changes.append(InsertTransfer(operation))
        self._append(kind, transferred=transferred, reference=f"{operation.other:02}/{operation.xid}")

    def _claim(self, operation: Claim) -> None:
        balance = self.balance
        if balance.owner != operation.owner and balance.owner_until > self.at:
            raise LaneLeased("The lane belongs to another process.")
        balance.owner, balance.owner_until = operation.owner, operation.until

    def _grant(self, operation: Grant) -> None:
        balance, amount = self.balance, operation.amount
        limit = balance.limit.plus(amount)
        for name, added, total, most in (
            ("tokens", amount.tokens, limit.tokens, MAX_PERIOD_TOKENS),
            ("usd", amount.pusd, limit.pusd, MAX_PERIOD_PUSD),
        ):
            if added and total is None:
                raise InvalidRequest(f"The tenant has no limit in {name}, so there is nothing to grant.", name)
            if total is not None and total > most:
                raise InvalidRequest("The period's limit would be higher than a ledger can hold.", name)
        balance.limit, balance.granted = limit, balance.granted + amount
        self.changes.append(InsertLateMark(operation.grant_id))
        reference = f"grant/{operation.grant_id}"
        self._append(EntryKind.LIMIT, limit=limit, actor=operation.actor, reason=operation.reason, reference=reference)

    def _close(self) -> None:
        if self.balance.open_reservations:
            raise ReservationsOpen(f"{self.balance.open_reservations} reservations are still open.")
        self._append(EntryKind.CLOSE)
        self.balance.state = LaneState.CLOSED

    def _book(self, reservation: Reservation, outcome: Outcome, kind: EntryKind, reference: str = "") -> None:
        self.balance.used += outcome.amount
        attempt = reservation.attempt
        self._append(kind, reservation.rid, outcome.amount, reservation.amount, attempt, outcome, reference=reference)

    def _append(
        self,
        kind: EntryKind,
        rid: str = "",
        amount: Amount = NOTHING,
        reserved: Amount = NOTHING,
        attempt: Attempt | None = None,
        outcome: Outcome | None = None,
        *,
        limit: Limit | None = None,
        transferred: Amount | None = None,
        actor: str = "",
        reason: str = "",
        reference: str = "",
    ) -> None:
        balance = self.balance
        balance.seq += 1
        fields = LedgerEntry(
            seq=balance.seq,
            kind=kind,
            timestamp=self.at,
            commit_id=self.commit_id,
            rid=rid,
            amount=amount,
            reserved=reserved,
            attempt=attempt,
            outcome=outcome,
            limit=limit,
            transferred=transferred,
            actor=actor,
            reason=reason,
            reference=reference,
        ).fields()
        balance.head = self.chain.extend(balance.head, fields)
        fields["hash"] = balance.head
        self.changes.append(InsertEntry(balance.seq, fields))


def plan_commit(
    base: Balance, operations: Iterable[Operation], commit_id: str, now: datetime, chain: HashChain
) -> Plan:
    """What committing `operations` in this order does to a lane whose balance is `base`."""
    balance = base.copy()
    plan = Plan(balance=balance, commit_id=commit_id, now=now, chain=chain)
    for operation in operations:
        plan.apply(operation)
    balance.version += 1
    balance.recent = (commit_id, *base.recent[: RECENT_COMMITS - 1])
    return plan
