"""Faults in the commit protocol: queue, loop, recovery, and the conditions of the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.proof.mutation.mutant import mutants_of
from tests.proof.mutation.operators import (
    argument,
    body_of,
    called,
    condition,
    replaced,
    returns,
    without_assignment,
    without_operand,
    without_statement,
)

if TYPE_CHECKING:
    from shared.adapters.tables.commit_recovery import CommitRecovery
    from shared.adapters.tables.lane_reader import GiveUp
    from shared.adapters.tables.rows import marker_key, reservation_key  # noqa: TC004 - used in the changed module
    from shared.adapters.tables.store import Row

_COMMITTER = "shared.adapters.tables.committer:Committer"
_QUEUE = "shared.adapters.tables.commit_queue"
_RECOVERY = "shared.adapters.tables.commit_recovery"
_TESTS = "unit/ledger/test_committer.py"
_QUEUE_TESTS = "unit/ledger/test_commit_queue.py"
_RECOVERY_TESTS = "unit/ledger/test_commit_recovery.py"
_PORT = "contract/ledger/test_ledger.py"


async def _marker_first(self: CommitRecovery, rid: str, give_up: GiveUp) -> tuple[bool, Row | None]:
    marker = await self.reader.row(marker_key(rid), give_up)
    is_held = await self.reader.row(reservation_key(rid), give_up) is not None
    return is_held, None if is_held else marker


MUTANTS = [
    *mutants_of(
        "shared.adapters.in_memory.table_store:_check",
        _TESTS,
        {"the balance is merged without If-Match": condition("row.etag", False)},
    ),
    *mutants_of(
        f"{_QUEUE}:Pending.is_owed",
        _QUEUE_TESTS,
        {
            "a settlement is lost with its caller": without_operand("self.operation"),
            "an operation that is in the books already is committed again": without_operand("self.is_resolved"),
        },
    ),
    *mutants_of(
        f"{_QUEUE}:CommitQueue.take_batch",
        _QUEUE_TESTS,
        {
            "a batch has two operations on one reservation": without_operand("rids"),
            "a transaction has more rows than storage allows": replaced("MAX_BATCH_ROWS", "2 * _"),
            "reservations go before settlements": called("sorted", "[*self._waiting]"),
            "an abandoned reservation is committed": condition("pending.is_owed", False),
        },
    ),
    *mutants_of(
        f"{_COMMITTER}._plan",
        _TESTS,
        {"a refusal stands on a stale copy": condition("FRESH_SECONDS", True)},
    ),
    *mutants_of(
        f"{_COMMITTER}._send",
        _TESTS,
        {"a cancelled lone commit is forgotten": without_statement("_UNANSWERED")},
    ),
    *mutants_of(
        f"{_COMMITTER}._recover",
        _RECOVERY_TESTS,
        {
            "a lost transaction is sent again with another commit id": argument(
                "_send", 0, "self._plan_on(flight.base, batch)"
            ),
        },
    ),
    *mutants_of(
        f"{_COMMITTER}._commit_or_fail",
        _TESTS,
        {
            "a failed batch leaves its transaction to the next batch": without_assignment("self._flight", of=2, at=2),
            "a rejected batch leaves its transaction to its single operations": without_assignment(
                "self._flight", of=2, at=1
            ),
        },
    ),
    *mutants_of(
        f"{_COMMITTER}._acknowledge",
        _TESTS,
        {"an abandoned hold is not voided": condition("pending.answer", False)},
    ),
    *mutants_of(
        f"{_RECOVERY}:CommitRecovery.verdict",
        _TESTS,
        {
            "a lost answer counts as committed": condition("plan.commit_id", "_ or isinstance(error, AnswerLost)"),
            "a lost answer counts as not committed": replaced("current.balance.recent", "_[1:]"),
            "a commit whose id has left the balance is made again": condition("has_left_recent", False),
        },
    ),
    *mutants_of(
        f"{_RECOVERY}:CommitRecovery._unmoved",
        _RECOVERY_TESTS,
        {
            "a lost transaction is planned again while it may still arrive": replaced(
                "Verdict.RESUBMIT", "Verdict.PLAN_AGAIN"
            ),
        },
    ),
    *mutants_of(
        f"{_RECOVERY}:CommitRecovery._has_written_rows",
        _TESTS,
        {"the entry of another commit counts as ours": without_operand("plan.commit_id")},
    ),
    *mutants_of(
        f"{_RECOVERY}:CommitRecovery._reservation",
        _RECOVERY_TESTS,
        {
            "recovery reads a reservation twice": returns(
                "(await self.reader.row(reservation_key(rid), give_up) is not None, _[1])"
            ),
            "recovery reads the marker before the reservation": body_of(_marker_first),
        },
    ),
    *mutants_of(
        f"{_RECOVERY}:CommitRecovery._reclassify",
        _PORT,
        {"the settlement of an expired reservation is lost": condition("marker", False)},
    ),
    *mutants_of(
        f"{_RECOVERY}:_is_done",
        (_TESTS, _RECOVERY_TESTS),
        {
            "settling twice books twice": returns("False", of=2, at=2),
            "a late settlement is taken for done": without_operand("marker", of=2, at=2),
            "a reservation that has expired meanwhile is made again": without_operand("marker", of=2, at=1),
        },
    ),
]
