"""The operations that wait for the next commit of one lane."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

from shared.adapters.tables.store import MAX_BATCH_ROWS
from shared.domain.errors import GatewayError
from shared.domain.ledger.balance import Balance
from shared.domain.ledger.operations import Adjust, LateSettle, Operation, Reserve, Settle


@dataclass(slots=True, eq=False)
class Pending:
    """An operation and the future that its waiter awaits."""

    operation: Operation
    answer: asyncio.Future[Balance]
    is_resolved: bool = False
    """The operation was found to be in the books already."""

    @property
    def is_owed(self) -> bool:
        """Tells whether it must still be committed. A settlement is owed to the books even if nobody waits for it."""
        return not self.is_resolved and (
            not self.answer.done() or isinstance(self.operation, Settle | LateSettle | Adjust)
        )

    def succeed(self, balance: Balance) -> None:
        """Answer with the balance after the operation, if somebody still waits."""
        if not self.answer.done():
            self.answer.set_result(balance)

    def fail(self, error: GatewayError) -> None:
        """Answer with an error, if somebody still waits."""
        if not self.answer.done():
            self.answer.set_exception(error)
            self.answer.exception()  # marks it as retrieved: the waiter may have gone


@dataclass(slots=True)
class CommitQueue:
    """Operations in the order of their arrival. Those that arrive during a commit share the next one."""

    _waiting: deque[Pending] = field(default_factory=deque)

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def __iter__(self) -> Iterator[Pending]:
        return iter(self._waiting)

    def add(self, pending: Pending) -> None:
        """Append an operation."""
        self._waiting.append(pending)

    def take_batch(self) -> list[Pending]:
        """Remove and return the operations of the next commit; it may be empty.

        Settlements come before reservations. A batch has one operation for each reservation id, and no more rows than
        one entity group transaction may have.
        """
        batch: list[Pending] = []
        later: list[Pending] = []
        rids: set[str] = set()
        rows = 1
        for pending in sorted(self._waiting, key=lambda pending: isinstance(pending.operation, Reserve)):
            operation = pending.operation
            if not pending.is_owed:
                continue
            if rows + operation.rows > MAX_BATCH_ROWS or operation.rid in rids:
                later.append(pending)
                continue
            rows += operation.rows
            batch.append(pending)
            if operation.rid:
                rids.add(operation.rid)
        self._waiting = deque(later)
        return batch
