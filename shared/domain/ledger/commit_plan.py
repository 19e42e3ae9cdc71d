"""Plan one commit to a lane: from operations to a new balance and row changes.

This module is pure. `shared/adapters/tables/committer.py` makes a plan durable.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime

from shared.domain.audit.hash_chain import HashChain
from shared.domain.errors import GatewayError, PeriodNotOpen
from shared.domain.identifiers import timestamp
from shared.domain.ledger.amounts import NOTHING, Amount, Limit
from shared.domain.ledger.balance import BALANCE, RECENT_COMMITS, Balance, LaneState, Refusal, balance_digest
from shared.domain.ledger.changes import (
    Change,
    DeleteMarker,
    DeleteReservation,
    InsertEntry,
    InsertGrantMark,
    InsertLateMark,
    InsertMarker,
    InsertReservation,
    InsertTransfer,
)
from shared.domain.ledger.entries import Attempt, EntryKind, LedgerEntry, Outcome, Reservation
from shared.domain.ledger.entry_cost import corrected_charge
from shared.domain.ledger.grants import grant_reference, raised_limit
from shared.domain.ledger.lanes import available
from shared.domain.ledger.operations import (
    Adjust,
    Ask,
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


@dataclass(slots=True, kw_only=True)
class Plan:
    """The effect of one commit: the balance after it, the rows that it changes, and the operations that it refuses."""

    balance: Balance
    commit_id: str
    now: datetime
    chain: HashChain
    changes: list[Change] = field(default_factory=list)
    refused: list[tuple[Reserve | Ask, Refusal]] = field(default_factory=list)
    failed: list[tuple[Operation, GatewayError]] = field(default_factory=list)
    is_empty: bool = True
    _written_now: str = ""

    @property
    def at(self) -> str:
        """`now` as text. All entries of the commit have the same timestamp."""
        if not self._written_now:
            self._written_now = timestamp(self.now)
        return self._written_now

    def apply(self, operation: Operation) -> None:
        """Add one operation.

        A reservation that is not admitted goes to `refused`. An operation that fails goes to `failed` with its error.
        """
        try:
            if isinstance(operation, Reserve):
                self._reserve(operation)
            elif isinstance(operation, Ask):
                self._ask(operation)
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

    def _ask(self, operation: Ask) -> None:
        refusal = self.balance.refusal(operation.amount)
        _, wait_seconds = self.balance.arrivals.admit(operation.rate_limits, operation.amount.tokens, self.now)
        if refusal is None and wait_seconds > 0:
            refusal = Refusal.RATE
        if refusal is not None:
            self.refused.append((operation, refusal))

    def _change(self, operation: ResolvingChange | LaneChange) -> None:
        if self.balance.state is LaneState.CLOSED:
            if isinstance(operation, BeginClosing | Close):
                return  # closing again changes nothing
            raise PeriodNotOpen("The billing period is closed.")
        if isinstance(operation, (Settle, Expire)):
            self._resolve(operation)
        elif isinstance(operation, LateSettle | Adjust):
            self._settle_late(operation)
        elif isinstance(operation, ChangeLimit) and operation.limit.plus(self.balance.granted) == self.balance.limit:
            return  # another process has made the same change: one change has one entry
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
            self._change_limit(operation.limit.plus(self.balance.granted), operation)
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
        """Charge the difference to the charge at expiry. All of it is excess, because expiry ended the hold."""
        reservation, outcome = operation.reservation, operation.outcome
        served = outcome.served or reservation.attempt
        difference = replace(
            outcome,
            amount=outcome.amount - operation.charged,
            usage=outcome.usage - operation.charged_usage,
            corrected=corrected_charge(reservation, served.price_version, operation.charged_usage),
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
            # The donor was chosen on an older balance, and may have reserved more since.
            if transferred.excess_over(available(self.balance)) != Amount():
                raise InsufficientAvailable("The lane has less available than the transfer takes.")
            transferred, kind = Amount() - transferred, EntryKind.TRANSFER_OUT
        self.balance.transferred += transferred
        self.changes.append(InsertTransfer(operation))
        self._append(kind, transferred=transferred, reference=f"{operation.other:02}/{operation.xid}")

    def _claim(self, operation: Claim) -> None:
        balance = self.balance
        if balance.owner != operation.owner and balance.owner_until > self.at:
            raise LaneLeased("The lane is leased to another process.")
        balance.owner, balance.owner_until = operation.owner, operation.until

    def _grant(self, operation: Grant) -> None:
        limit = raised_limit(self.balance.limit, operation.amount)
        self.balance.granted += operation.amount
        self.changes.append(InsertGrantMark(operation.grant_id))
        self._change_limit(limit, operation, grant_reference(operation.grant_id))

    def _change_limit(self, limit: Limit, operation: ChangeLimit | Grant, reference: str = "") -> None:
        self._append(
            EntryKind.LIMIT,
            limit=limit,
            previous_limit=self.balance.limit,
            actor=operation.actor,
            reason=operation.reason,
            reference=reference,
        )
        self.balance.limit = limit

    def _close(self) -> None:
        if self.balance.open_reservations:
            raise ReservationsOpen(f"{self.balance.open_reservations} reservations are still open.")
        balance = self.balance
        balance.state = LaneState.CLOSED
        balance.seq += 1
        entry = LedgerEntry(
            seq=balance.seq,
            kind=EntryKind.CLOSE,
            timestamp=self.at,
            commit_id=self.commit_id,
            balance_sha256=balance_digest(BALANCE.write(balance)),
        )
        fields = entry.fields()
        balance.head = self.chain.seal(balance.head, fields)
        self.changes.append(InsertEntry(balance.seq, fields))

    def _book(self, reservation: Reservation, outcome: Outcome, kind: EntryKind, reference: str = "") -> None:
        self.balance.used += outcome.amount
        attempt = outcome.served or reservation.attempt
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
        previous_limit: Limit | None = None,
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
            previous_limit=previous_limit,
            transferred=transferred,
            actor=actor,
            reason=reason,
            reference=reference,
        ).fields()
        balance.head = self.chain.seal(balance.head, fields)
        self.changes.append(InsertEntry(balance.seq, fields))


def plan_commit(
    base: Balance, operations: Iterable[Operation], commit_id: str, now: datetime, chain: HashChain
) -> Plan:
    """Plan a commit of `operations`, in this order, to a lane whose balance is `base`. Does not change `base`."""
    balance = base.copy()
    balance.version += 1
    # After a lost answer, the recent ids tell if this commit was stored.
    balance.recent = (commit_id, *base.recent[: RECENT_COMMITS - 1])
    plan = Plan(balance=balance, commit_id=commit_id, now=now, chain=chain)
    for operation in operations:
        plan.apply(operation)
    return plan
