"""The commit protocol: how one process changes one lane, whatever becomes of its requests and their answers.

Operations that arrive while a transaction is in flight ride in the next one. A transaction starts with a merge of the
balance row under `If-Match` and carries a commit id that the balance row keeps, so that after any error reading the
balance tells whether it was committed. docs/ledger.md explains the protocol; tests/contract and tests/unit prove it.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import partial

from shared.adapters.tables.lane_reader import Copy, GiveUp, LaneReader
from shared.adapters.tables.rows import (
    BALANCE_KEY,
    balance_fields,
    charged_from,
    entry_key,
    late_mark_key,
    marker_key,
    reservation_key,
    row_change,
    transfer_key,
)
from shared.adapters.tables.store import (
    MAX_BATCH_ROWS,
    AnswerLost,
    Merge,
    PreconditionFailed,
    Rejected,
    RowChange,
    RowExists,
    RowMissing,
    StoreError,
    TableStore,
)
from shared.application.ports.clock import Clock
from shared.domain.audit.hash_chain import HashChain
from shared.domain.errors import GatewayError, LedgerUnavailable
from shared.domain.ledger.balance import RECENT_COMMITS, Balance
from shared.domain.ledger.commit_plan import InsertEntry, InsertReservation, Plan, plan_commit
from shared.domain.ledger.entries import EntryKind, Outcome
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
from shared.domain.ledger.refusals import refused

FRESH_SECONDS = 0.25
CONTENDED_FRESH_SECONDS = 0.015
CONTENDED_CONFLICT_RATE = 0.3
_UNANSWERED = AnswerLost()
"""Of a transaction whose answer nobody waited for."""


def _new_commit_id() -> str:
    return f"{random.getrandbits(64):016x}"


@dataclass(slots=True, eq=False)
class _Pending:
    operation: Operation
    answer: asyncio.Future[Balance]
    resolved: bool = False

    @property
    def is_owed(self) -> bool:
        """Whether it must still be committed: a settlement is owed to the books even when nobody waits for it."""
        return not self.resolved and (
            not self.answer.done() or isinstance(self.operation, Settle | LateSettle | Adjust)
        )

    def succeed(self, balance: Balance) -> None:
        if not self.answer.done():
            self.answer.set_result(balance)

    def fail(self, error: GatewayError) -> None:
        if not self.answer.done():
            self.answer.set_exception(error)
            self.answer.exception()  # marks it as retrieved: the waiter may have gone


class _Abandoned(Exception):
    """Nobody waits for the batch in hand any more, and nothing of it is owed to the books."""


class _Verdict(Enum):
    COMMITTED = auto()
    RESUBMIT = auto()
    PLAN_AGAIN = auto()


@dataclass(slots=True, eq=False)
class Committer:
    """The only writer of one lane in this process."""

    store: TableStore
    chain: HashChain
    clock: Clock
    reader: LaneReader
    after_close: Callable[[Settle | LateSettle, asyncio.Future[Balance]], None]
    """Takes over a settlement whose period has closed, and the answer that somebody may wait for."""
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.get_running_loop)
    """Kept, because asking for it is a system call."""
    _queue: deque[_Pending] = field(default_factory=deque)
    _copy: Copy | None = None
    _runner: asyncio.Future[None] | None = None
    _in_flight: tuple[Plan, Copy, StoreError] | None = None
    _conflict_rate: float = 0.0

    @property
    def idle(self) -> bool:
        return self._runner is None

    @property
    def balance(self) -> Balance | None:
        """The balance as last seen, which may be old."""
        return self._copy.balance if self._copy else None

    def forget(self) -> None:
        """Read the balance before the next commit: it is known to have moved."""
        self._copy = None

    def submit(self, operation: Operation) -> Awaitable[Balance]:
        """Commit `operation`; the balance after it. Awaiting it raises what the ledger port promises."""
        if self._copy is not None and self._is_alone(operation, self._copy):
            return self._commit_alone(operation, self._copy)
        return self.enqueue(operation)

    def enqueue(self, operation: Operation) -> asyncio.Future[Balance]:
        """Accept `operation` now; the future tells when and how it ended."""
        pending = _Pending(operation, self._loop.create_future())
        self._queue.append(pending)
        if self._runner is None:
            self._runner = self._loop.create_task(self._run())
        return pending.answer

    async def finish(self) -> None:
        """Return when the queue is empty and nothing is in flight."""
        while self._runner is not None:
            await asyncio.wait([self._runner])

    def _is_alone(self, operation: Operation, copy: Copy) -> bool:
        """Whether no other request of the lane is near that could ride along: then a task would only cost a turn."""
        if self._runner is not None or self._is_contended:
            return False
        return copy.balance.open_reservations == isinstance(operation, Settle)

    async def _commit_alone(self, operation: Operation, copy: Copy) -> Balance:
        """Commit in the caller's own task. Whatever is not plain success is left to a task that outlives the caller."""
        pending = _Pending(operation, self._loop.create_future())
        unresolved = [pending]
        turn = self._runner = self._loop.create_future()
        try:
            if await self._is_committed_at_once(unresolved, copy):
                unresolved = []
        except BaseException:
            pending.answer.cancel()
            raise
        finally:
            self._runner = self._loop.create_task(self._run(unresolved)) if unresolved or self._queue else None
            turn.set_result(None)
        return await pending.answer

    async def _is_committed_at_once(self, batch: list[_Pending], copy: Copy) -> bool:
        """Plain success, which is nearly always. Whatever else there is, `_commit` takes up from here."""
        plan = self._plan_on(copy, batch)
        if plan.is_empty or plan.refused or plan.failed:
            return False
        self._in_flight = plan, copy, _UNANSWERED
        try:
            await self._submit(plan, copy)
        except StoreError as error:
            self._in_flight = plan, copy, error
            return False
        self._in_flight = None
        for pending in batch:
            self._acknowledge(pending, plan.balance)
        return True

    async def _run(self, interrupted: Iterable[_Pending] = ()) -> None:
        batch = list(interrupted)
        try:
            if batch:
                await self._commit_or_fail(batch)
            while self._queue:
                batch, copy = self._take(), self._copy
                if copy is None or self._is_contended or not await self._is_committed_at_once(batch, copy):
                    await self._commit_or_fail(batch)
        except BaseException:
            self._in_flight = None
            for pending in batch:
                pending.fail(LedgerUnavailable())
            raise
        finally:
            self._runner = self._loop.create_task(self._run()) if self._queue else None

    async def _commit_or_fail(self, batch: list[_Pending]) -> None:
        try:
            await self._commit(batch)
        except _Abandoned:
            return
        except GatewayError as error:
            for pending in batch:
                pending.fail(error)
        except Rejected:
            await self._commit_singly(batch)

    async def _commit_singly(self, batch: list[_Pending]) -> None:
        """One operation that storage rejects must not take the others of its batch with it."""
        if len(batch) == 1:
            batch[0].fail(LedgerUnavailable("The ledger rejected the record of this request."))
            return
        for pending in batch:
            await self._commit_or_fail([pending])

    def _take(self) -> list[_Pending]:
        """The next batch: settlements before reservations, one operation a rid, no more rows than a transaction has."""
        if len(self._queue) == 1:
            only = self._queue.popleft()
            return [only] if only.is_owed else []
        batch: list[_Pending] = []
        later: list[_Pending] = []
        rids: set[str] = set()
        rows = 1
        for pending in sorted(self._queue, key=lambda pending: isinstance(pending.operation, Reserve)):
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
        self._queue = deque(later)
        return batch

    async def _commit(self, batch: list[_Pending]) -> None:
        while batch:
            if self._in_flight is not None:
                (plan, copy, error), self._in_flight = self._in_flight, None
                durable = await self._make_durable(plan, copy, batch, error)
            else:
                plan, copy = await self._plan(batch)
                durable = plan.is_empty or await self._make_durable(plan, copy, batch)
            if durable:
                self._answer(batch, plan)
                return
            batch = [pending for pending in batch if pending.is_owed]

    async def _plan(self, batch: list[_Pending]) -> tuple[Plan, Copy]:
        """What to commit, on which copy of the balance. A refusal or failure stands only on a fresh one."""
        while True:
            copy = await self._current(batch)
            plan = self._plan_on(copy, batch)
            if not (plan.refused or plan.failed) or self._age(copy) <= FRESH_SECONDS:
                return plan, copy
            self._copy = None

    def _plan_on(self, copy: Copy, batch: list[_Pending]) -> Plan:
        operations = [pending.operation for pending in batch]
        return plan_commit(copy.balance, operations, _new_commit_id(), self.clock.now(), self.chain)

    def _answer(self, batch: Iterable[_Pending], plan: Plan) -> None:
        if not plan.refused and not plan.failed:
            for pending in batch:
                self._acknowledge(pending, plan.balance)
            return
        refusals = {id(operation): refusal for operation, refusal in plan.refused}
        failures = {id(operation): error for operation, error in plan.failed}
        for pending in batch:
            operation = pending.operation
            if error := failures.get(id(operation)):
                if isinstance(operation, Settle | LateSettle):
                    self.after_close(operation, pending.answer)
                else:
                    pending.fail(error)
            elif (refusal := refusals.get(id(operation))) and isinstance(operation, Reserve):
                pending.fail(refused(operation, refusal, plan.balance, self.reader.lane.period, plan.now))
            else:
                self._acknowledge(pending, plan.balance)

    async def _make_durable(
        self, plan: Plan, copy: Copy, batch: list[_Pending], error: StoreError | None = None
    ) -> bool:
        """Whether the plan was committed. If not, it provably never will be. `error` is what a first try ended with."""
        is_repeated = False
        while True:
            if isinstance(error, Rejected):
                raise error
            if error is not None:
                verdict = await self._resolve(error, plan, copy, batch)
                if verdict is not _Verdict.RESUBMIT:
                    self.reader.recovered()
                    return verdict is _Verdict.COMMITTED
                if is_repeated:
                    await self.reader.back_off(partial(self._give_up, batch, in_flight=True))
                is_repeated = True
            try:
                await self._submit(plan, copy)
            except StoreError as submitted:
                error = submitted
            else:
                return True

    async def _submit(self, plan: Plan, copy: Copy) -> None:
        """Send the plan's transaction, the same bytes each time."""
        changes: list[RowChange] = [Merge(BALANCE_KEY, balance_fields(plan.balance), copy.etag)]
        changes += [row_change(change) for change in plan.changes]
        etag = await self.store.submit(self.reader.table, self.reader.partition, changes, plan.commit_id)
        self._copy = Copy(plan.balance, etag, self.clock.monotonic())
        self.reader.recovered()
        self._note_conflict(happened=False)

    async def _resolve(self, error: StoreError, plan: Plan, copy: Copy, batch: list[_Pending]) -> _Verdict:
        """What became of a transaction that was answered with an error, told by reading the balance."""
        self._note_conflict(happened=isinstance(error, PreconditionFailed))
        give_up = partial(self._give_up, batch, in_flight=True)
        self._copy = current = await self.reader.balance(give_up)
        if plan.commit_id in current.balance.recent:
            return _Verdict.COMMITTED
        if current.etag == copy.etag:
            if isinstance(error, AnswerLost):
                return _Verdict.RESUBMIT
            if not await self._reclassify(batch, current.balance, give_up) and isinstance(
                error, RowExists | RowMissing
            ):
                raise Rejected("rows of the lane contradict its balance")
            return _Verdict.PLAN_AGAIN
        if current.balance.version - copy.balance.version > RECENT_COMMITS and await self._left_its_mark(plan, give_up):
            return _Verdict.COMMITTED
        return _Verdict.PLAN_AGAIN

    async def _left_its_mark(self, plan: Plan, give_up: GiveUp) -> bool:
        """Whether a row that only this plan can have written is there, once its commit id has left the balance row."""
        first = next((change.seq for change in plan.changes if isinstance(change, InsertEntry)), None)
        if first is not None:
            row = await self.reader.row(entry_key(first), give_up)
            return row is not None and row.fields["commit_id"] == plan.commit_id
        holds = (change.reservation.rid for change in plan.changes if isinstance(change, InsertReservation))
        rid = next(holds, None)
        if rid is None:
            return False
        is_held = await self.reader.row(reservation_key(rid), give_up) is not None
        return is_held or await self.reader.row(marker_key(rid), give_up) is not None

    async def _reclassify(self, batch: list[_Pending], balance: Balance, give_up: GiveUp) -> bool:
        """After 404 or 409 with an unmoved balance: find operations that are no longer what they were. Any found?"""
        found = False
        for pending in batch:
            operation = pending.operation
            if not operation.rid:
                continue
            if isinstance(operation, Adjust | Grant):
                is_done = await self.reader.row(late_mark_key(operation.rid), give_up) is not None
            elif isinstance(operation, TransferOut | TransferIn):
                is_done = await self.reader.row(transfer_key(operation.rid), give_up) is not None
            else:
                is_held = await self.reader.row(reservation_key(operation.rid), give_up) is not None
                marker = None if is_held else await self.reader.row(marker_key(operation.rid), give_up)
                if isinstance(operation, Settle) and marker:
                    charged, usage = charged_from(marker.fields)
                    pending.operation = LateSettle(
                        reservation=operation.reservation,
                        outcome=operation.outcome,
                        charged=charged,
                        charged_usage=usage,
                    )
                    found = True
                    continue
                if isinstance(operation, Reserve):
                    is_done = is_held or marker is not None
                else:
                    is_done = not is_held and not (marker and isinstance(operation, LateSettle))
            if is_done:
                pending.resolved = found = True
                self._acknowledge(pending, balance)
        return found

    def _acknowledge(self, pending: _Pending, balance: Balance) -> None:
        """Tell the waiter that its operation is in the books; void a hold whose waiter was told otherwise, or left."""
        operation = pending.operation
        if isinstance(operation, Reserve) and pending.answer.done():
            self.enqueue(Settle(operation.reservation, Outcome(kind=EntryKind.VOID, error_code="abandoned")))
        pending.succeed(balance)

    async def _current(self, batch: list[_Pending]) -> Copy:
        """The copy in hand, unless contention makes it likely to be stale."""
        copy = self._copy
        if copy is None or (self._is_contended and self._age(copy) > CONTENDED_FRESH_SECONDS):
            self._copy = copy = await self.reader.balance(partial(self._give_up, batch, in_flight=False))
            self.reader.recovered()
        return copy

    def _give_up(self, batch: list[_Pending], *, in_flight: bool) -> None:
        """Storage is silent for too long: tell everyone who waits, and go on only for what is owed."""
        for pending in (*batch, *self._queue):
            pending.fail(LedgerUnavailable())
        if not in_flight and not any(pending.is_owed for pending in batch):
            raise _Abandoned

    def _note_conflict(self, *, happened: bool) -> None:
        self._conflict_rate += 0.1 * (happened - self._conflict_rate)

    @property
    def _is_contended(self) -> bool:
        return self._conflict_rate > CONTENDED_CONFLICT_RATE

    def _age(self, copy: Copy) -> float:
        return self.clock.monotonic() - copy.seen_at
