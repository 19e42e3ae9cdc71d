"""Recovery: find out by reading the lane whether a transaction that ended with an error was committed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from shared.adapters.tables.commit_queue import Pending
from shared.adapters.tables.lane_reader import BalanceCopy, GiveUp, LaneReader
from shared.adapters.tables.rows import (
    charged_from,
    entry_key,
    grant_key,
    late_mark_key,
    marker_key,
    reservation_key,
    transfer_key,
)
from shared.adapters.tables.store import (
    AnswerLost,
    PreconditionFailed,
    Rejected,
    Row,
    RowExists,
    RowMissing,
    StoreError,
)
from shared.domain.ledger.balance import RECENT_COMMITS, Balance
from shared.domain.ledger.changes import InsertEntry, InsertReservation
from shared.domain.ledger.commit_plan import Plan
from shared.domain.ledger.operations import (
    Adjust,
    Grant,
    LateSettle,
    Operation,
    Reserve,
    Settle,
    TransferIn,
    TransferOut,
)
from shared.domain.values import value


class Abandoned(Exception):
    """Nobody waits for the batch in hand any more, and nothing of it is owed to the books."""


@value
class Flight:
    """A transaction that was sent, the copy of the balance it was planned on, and the error that it ended with."""

    plan: Plan
    base: BalanceCopy
    error: StoreError


class Verdict(Enum):
    """The fate of a transaction that ended with an error."""

    COMMITTED = auto()
    RESUBMIT = auto()
    """It was not committed yet, but may still be: only the same bytes may be sent again."""
    PLAN_AGAIN = auto()
    """It never was and never will be committed."""


@dataclass(slots=True, eq=False)
class CommitRecovery:
    """Reads the balance row, which keeps the ids of the last commits. docs/reference/ledger.md explains the cases."""

    reader: LaneReader
    acknowledge: Callable[[Pending, Balance], None]
    """Answers an operation that was found to be in the books already."""

    async def verdict(self, flight: Flight, batch: Sequence[Pending], give_up: GiveUp) -> tuple[Verdict, BalanceCopy]:
        """Decide what became of `flight`; returns the balance as stored now, too.

        Operations of `batch` that are no longer what they were are changed or resolved. Raises `Rejected` where the
        rows of the lane contradict its balance.
        """
        current = await self.reader.balance(give_up)
        plan, base, error = flight.plan, flight.base, flight.error
        if plan.commit_id in current.balance.recent:
            return Verdict.COMMITTED, current
        if current.etag == base.etag:
            return await self._unmoved(error, batch, current.balance, give_up), current
        has_left_recent = current.balance.version - base.balance.version > RECENT_COMMITS
        if has_left_recent and await self._has_written_rows(plan, give_up):
            return Verdict.COMMITTED, current
        return Verdict.PLAN_AGAIN, current

    async def _unmoved(self, error: StoreError, batch: Sequence[Pending], balance: Balance, give_up: GiveUp) -> Verdict:
        """Decide where nobody has changed the balance since the transaction was planned."""
        if isinstance(error, AnswerLost):
            return Verdict.RESUBMIT
        has_found = await self._reclassify(batch, balance, give_up)
        if not has_found and isinstance(error, RowExists | RowMissing):
            raise Rejected("rows of the lane contradict its balance")
        return Verdict.PLAN_AGAIN

    async def _has_written_rows(self, plan: Plan, give_up: GiveUp) -> bool:
        """Look for a row that only this plan can have written, once its commit id has left the balance row."""
        first = next((change.seq for change in plan.changes if isinstance(change, InsertEntry)), None)
        if first is not None:
            row = await self.reader.row(entry_key(first), give_up)
            return row is not None and row.fields["commit_id"] == plan.commit_id
        holds = (change.reservation.rid for change in plan.changes if isinstance(change, InsertReservation))
        rid = next(holds, None)
        return rid is not None and await self._is_reserved_or_expired(rid, give_up)

    async def _is_reserved_or_expired(self, rid: str, give_up: GiveUp) -> bool:
        is_held, marker = await self._reservation(rid, give_up)
        return is_held or marker is not None

    async def _reservation(self, rid: str, give_up: GiveUp) -> tuple[bool, Row | None]:
        """Tell whether a reservation is open; if not, read its expired marker. Each row is read only once."""
        is_held = await self.reader.row(reservation_key(rid), give_up) is not None
        return is_held, None if is_held else await self.reader.row(marker_key(rid), give_up)

    async def _reclassify(self, batch: Sequence[Pending], balance: Balance, give_up: GiveUp) -> bool:
        """Find operations that are no longer what they were, after 404 or 409 with an unmoved balance. Any found?"""
        has_found = False
        for pending in batch:
            operation = pending.operation
            if not operation.rid:
                continue
            if isinstance(operation, Adjust):
                is_done = await self.reader.row(late_mark_key(operation.rid), give_up) is not None
            elif isinstance(operation, Grant):
                is_done = await self.reader.row(grant_key(operation.grant_id), give_up) is not None
            elif isinstance(operation, TransferOut | TransferIn):
                is_done = await self.reader.row(transfer_key(operation.rid), give_up) is not None
            else:
                is_held, marker = await self._reservation(operation.rid, give_up)
                if isinstance(operation, Settle) and marker:
                    pending.operation = _late(operation, marker)
                    has_found = True
                    continue
                is_done = _is_done(operation, marker, is_held=is_held)
            if is_done:
                pending.is_resolved = has_found = True
                self.acknowledge(pending, balance)
        return has_found


def _late(operation: Settle, marker: Row) -> LateSettle:
    """Return the late settlement that a settlement has become, because its reservation has expired meanwhile."""
    charged, usage = charged_from(marker.fields)
    return LateSettle(operation.reservation, outcome=operation.outcome, charged=charged, charged_usage=usage)


def _is_done(operation: Operation, marker: Row | None, *, is_held: bool) -> bool:
    """Tell whether an earlier commit has carried out the operation, by the rows of its reservation."""
    if isinstance(operation, Reserve):
        return is_held or marker is not None
    return not is_held and not (marker and isinstance(operation, LateSettle))


def result_of(error: StoreError) -> str:
    """Return the result of a transaction that ended with an error, for `CommitWatch`."""
    match error:
        case PreconditionFailed():
            return "conflict"
        case AnswerLost():
            return "unknown"
    return "rejected"


def unwatched(tenant_id: str, seconds: float, result: str) -> None:
    """Implement `CommitWatch` where nobody watches."""
