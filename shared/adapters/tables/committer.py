"""The commit protocol: one process changes one lane, whatever becomes of its requests and their answers.

Operations that arrive while a transaction is in flight share the next one. A transaction starts with a merge of the
balance row under `If-Match`. It carries a commit id that the balance row keeps, so that after any error reading the
balance tells whether it was committed. docs/reference/ledger.md explains the protocol.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial

from shared.adapters.tables.commit_queue import CommitQueue, Pending
from shared.adapters.tables.commit_recovery import Abandoned, CommitRecovery, Flight, Verdict, result_of, unwatched
from shared.adapters.tables.lane_reader import BalanceCopy, LaneReader
from shared.adapters.tables.rows import BALANCE_KEY, balance_fields, row_change
from shared.adapters.tables.store import (
    AnswerLost,
    Merge,
    PreconditionFailed,
    Rejected,
    RowChange,
    StoreError,
    TableStore,
)
from shared.application.ports.clock import Clock
from shared.application.ports.ledger import CommitWatch
from shared.domain.audit.hash_chain import HashChain
from shared.domain.errors import GatewayError, LedgerUnavailable
from shared.domain.ledger.balance import Balance
from shared.domain.ledger.commit_plan import Plan, plan_commit
from shared.domain.ledger.entries import EntryKind, Outcome
from shared.domain.ledger.operations import Ask, LateSettle, Operation, Reserve, Settle
from shared.domain.ledger.plain_outcome import in_plain_form
from shared.domain.ledger.refusals import refused

FRESH_SECONDS = 0.25
"""A refusal stands only on a copy of the balance that is younger than this."""
CONTENDED_FRESH_SECONDS = 0.015
CONTENDED_CONFLICT_RATE = 0.3
_UNANSWERED = AnswerLost()
"""The error of a transaction whose answer nobody has read yet."""


class Committer:
    """The only writer of one lane in this process: one transaction at a time."""

    def __init__(
        self,
        store: TableStore,
        chain: HashChain,
        clock: Clock,
        reader: LaneReader,
        after_close: Callable[[Settle | LateSettle, asyncio.Future[Balance]], None],
        watch: CommitWatch = unwatched,
    ) -> None:
        """`after_close` takes over a settlement whose period has closed, and the future that its waiter awaits."""
        self.reader = reader
        self._store = store
        self._chain = chain
        self._clock = clock
        self._after_close = after_close
        self._watch = watch
        self._queue = CommitQueue()
        self._recovery = CommitRecovery(reader, self._acknowledge)
        self._copy: BalanceCopy | None = None
        self._runner: asyncio.Future[None] | None = None
        self._flight: Flight | None = None
        """The transaction that was sent and is not known to be committed."""
        self._conflict_rate = 0.0

    @property
    def idle(self) -> bool:
        return self._runner is None

    @property
    def balance(self) -> Balance | None:
        """The balance as last seen, which may be old."""
        return self._copy.balance if self._copy else None

    def forget_balance(self) -> None:
        """Read the balance before the next commit, because another process has changed it."""
        self._copy = None

    def submit(self, operation: Operation) -> Awaitable[Balance]:
        """Commit an operation. Awaiting gives the balance after it, or raises what the ledger port promises."""
        if self._copy is not None and self._is_alone(operation, self._copy):
            return self._commit_in_caller(operation, self._copy)
        return self.enqueue(operation)

    def enqueue(self, operation: Operation) -> asyncio.Future[Balance]:
        """Accept an operation for the next commit."""
        pending = self._pending(operation)
        self._queue.add(pending)
        if self._runner is None:
            self._runner = asyncio.create_task(self._run())
        return pending.answer

    async def finish(self) -> None:
        """Return when the queue is empty and nothing is in flight."""
        while self._runner is not None:
            await asyncio.wait([self._runner])

    def _is_alone(self, operation: Operation, copy: BalanceCopy) -> bool:
        """Tell whether no other request of this lane is near that could share the commit."""
        if self._runner is not None or self._is_contended:
            return False
        return copy.balance.open_reservations == isinstance(operation, Settle)

    async def _commit_in_caller(self, operation: Operation, copy: BalanceCopy) -> Balance:
        """Commit one operation without a task of its own, which saves a twentieth of a lone request's CPU (ADR 12).

        Anything but plain success is left to a task, which goes on when the caller is cancelled.
        """
        turn = self._runner = asyncio.get_running_loop().create_future()
        unfinished: list[Pending] = []
        try:
            plan = self._plan_on(copy, [operation])
            if not (plan.is_empty or plan.refused or plan.failed):
                await self._send(plan, copy)
                if self._flight is None:
                    return plan.balance
            pending = self._pending(operation)
            unfinished = [pending]
        except BaseException:
            unfinished = [self._pending(operation)]
            unfinished[0].answer.cancel()
            raise
        finally:
            self._runner = asyncio.create_task(self._run(unfinished)) if unfinished or self._queue else None
            turn.set_result(None)
        return await pending.answer

    async def _run(self, unfinished: Iterable[Pending] = ()) -> None:
        """Commit batch after batch until the queue is empty."""
        batch = list(unfinished)
        try:
            if batch:
                await self._commit_or_fail(batch)
            while self._queue:
                batch = self._queue.take_batch()
                await self._commit_or_fail(batch)
        except BaseException:
            for pending in batch:
                pending.fail(LedgerUnavailable())
            raise
        finally:
            self._runner = asyncio.create_task(self._run()) if self._queue else None

    async def _commit_or_fail(self, batch: list[Pending]) -> None:
        """Commit a batch. An error is told to those who wait for it."""
        try:
            await self._commit(batch)
        except Abandoned:
            return
        except GatewayError as error:
            for pending in batch:
                pending.fail(error)
        except Rejected:
            self._flight = None
            await self._commit_singly(batch)
        finally:
            self._flight = None

    async def _commit_singly(self, batch: list[Pending]) -> None:
        """Commit each operation alone. A settlement that storage rejects is owed, and takes a plain form."""
        if len(batch) == 1:
            plain = in_plain_form(batch[0].operation)
            if plain is None:
                batch[0].fail(LedgerUnavailable("The ledger rejected the record of this request."))
                return
            batch[0].operation = plain
        for pending in batch:
            await self._commit_or_fail([pending])

    async def _commit(self, batch: list[Pending]) -> None:
        """Plan, send, and after an error recover, until the batch is in the books or nothing of it is owed."""
        while batch:
            if self._flight is None:
                plan, copy = await self._plan(batch)
                if not plan.is_empty:
                    await self._send(plan, copy)
            else:
                plan = self._flight.plan
            if self._flight is None or await self._recover(batch):
                self._answer(batch, plan)
                return
            batch = [pending for pending in batch if pending.is_owed]

    async def _plan(self, batch: list[Pending]) -> tuple[Plan, BalanceCopy]:
        """Plan a commit. A refusal or failure stands only on a fresh copy of the balance."""
        while True:
            copy = await self._current(batch)
            plan = self._plan_on(copy, [pending.operation for pending in batch])
            if not (plan.refused or plan.failed) or self._age(copy) <= FRESH_SECONDS:
                return plan, copy
            self._copy = None

    def _plan_on(self, copy: BalanceCopy, operations: Sequence[Operation]) -> Plan:
        return plan_commit(copy.balance, operations, _new_commit_id(), self._clock.now(), self._chain)

    def _pending(self, operation: Operation) -> Pending:
        return Pending(operation, asyncio.get_running_loop().create_future())

    async def _send(self, plan: Plan, copy: BalanceCopy) -> None:
        """Send the plan's transaction, the same bytes each time. If it fails, it stays in flight."""
        self._flight = Flight(plan, copy, _UNANSWERED)
        changes: list[RowChange] = [Merge(BALANCE_KEY, balance_fields(plan.balance), copy.etag)]
        changes += [row_change(change) for change in plan.changes]
        began = self._clock.monotonic()
        try:
            etag = await self._store.submit(self.reader.table, self.reader.partition, changes, plan.commit_id)
        except StoreError as error:
            self._flight = Flight(plan, copy, error)
            self._watch(self.reader.lane.tenant_id, self._clock.monotonic() - began, result_of(error))
            return
        self._flight, self._copy = None, BalanceCopy(plan.balance, etag, self._clock.monotonic())
        self._watch(self.reader.lane.tenant_id, self._copy.seen_at - began, "committed")
        self.reader.recovered()
        self._note_conflict(happened=False)

    async def _recover(self, batch: list[Pending]) -> bool:
        """Find out whether the transaction in flight was committed. If not, it provably never will be.

        Raises `Rejected` for a transaction that storage will never accept.
        """
        give_up = partial(self._give_up, batch, in_flight=True)
        is_repeated = False
        while (flight := self._flight) is not None:
            if isinstance(flight.error, Rejected):
                raise flight.error
            self._note_conflict(happened=isinstance(flight.error, PreconditionFailed))
            verdict, self._copy = await self._recovery.verdict(flight, batch, give_up)
            if verdict is not Verdict.RESUBMIT:
                self._flight = None
                self.reader.recovered()
                return verdict is Verdict.COMMITTED
            if is_repeated:
                await self.reader.back_off(give_up)
            is_repeated = True
            await self._send(flight.plan, flight.base)
        return True

    def _answer(self, batch: Iterable[Pending], plan: Plan) -> None:
        """Tell each waiter how its operation ended."""
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
                    self._after_close(operation, pending.answer)
                else:
                    pending.fail(error)
            elif (refusal := refusals.get(id(operation))) and isinstance(operation, Reserve | Ask):
                pending.fail(refused(operation, refusal, plan.balance, self.reader.lane.period, plan.now))
            else:
                self._acknowledge(pending, plan.balance)

    def _acknowledge(self, pending: Pending, balance: Balance) -> None:
        """Tell a waiter that its operation is in the books. Voids a hold that its waiter no longer knows of."""
        operation = pending.operation
        if isinstance(operation, Reserve) and pending.answer.done():
            self.enqueue(Settle(operation.reservation, Outcome(kind=EntryKind.VOID, error_code="abandoned")))
        pending.succeed(balance)

    async def _current(self, batch: list[Pending]) -> BalanceCopy:
        """Return the copy in hand, unless contention makes it likely to be stale: then read it again."""
        copy = self._copy
        if copy is None or (self._is_contended and self._age(copy) > CONTENDED_FRESH_SECONDS):
            self._copy = copy = await self.reader.balance(partial(self._give_up, batch, in_flight=False))
            self.reader.recovered()
        return copy

    def _give_up(self, batch: list[Pending], *, in_flight: bool) -> None:
        """Fail everyone who waits, because storage is silent for too long. Goes on only for what is owed."""
        for pending in (*batch, *self._queue):
            pending.fail(LedgerUnavailable())
        if not in_flight and not any(pending.is_owed for pending in batch):
            raise Abandoned

    def _note_conflict(self, *, happened: bool) -> None:
        self._conflict_rate += 0.1 * (happened - self._conflict_rate)

    @property
    def _is_contended(self) -> bool:
        return self._conflict_rate > CONTENDED_CONFLICT_RATE

    def _age(self, copy: BalanceCopy) -> float:
        return self._clock.monotonic() - copy.seen_at


def _new_commit_id() -> str:
    return f"{random.getrandbits(64):016x}"
