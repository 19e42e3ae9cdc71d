"""The ledger over a table service: one committer for each lane, and scans for reports and timers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from functools import partial
from typing import TypeVar

from shared.adapters.tables.commit_recovery import unwatched
from shared.adapters.tables.committer import Committer
from shared.adapters.tables.grant_marks import GrantMarks
from shared.adapters.tables.hot_lanes import HotLanes
from shared.adapters.tables.lane_reader import LaneReader
from shared.adapters.tables.readable_rows import entry_from, readable
from shared.adapters.tables.rows import (
    BALANCE_KEY,
    REGISTRY_TABLE,
    RESERVATION_RANGE,
    TRANSFER_RANGE,
    balance_from,
    charged_from,
    entry_key,
    lane_from,
    marker_key,
    partition_of,
    reservation_from,
    table_of,
    transfer_from,
    transfer_key,
)
from shared.adapters.tables.store import AnswerLost, Row, TableMissing, TableStore
from shared.application.ports.clock import Clock
from shared.application.ports.ledger import CommitWatch, Hold
from shared.domain.audit.hash_chain import HashChain, genesis
from shared.domain.errors import AlreadyExists, LedgerUnavailable, PeriodExhausted, RowsDamaged
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.ledger.balance import Account, Balance, Lane, LaneState
from shared.domain.ledger.entries import LedgerEntry, Outcome, Reservation
from shared.domain.ledger.grants import Granted
from shared.domain.ledger.operations import (
    Adjust,
    Ask,
    BeginClosing,
    ChangeLimit,
    Close,
    Expire,
    Grant,
    LateSettle,
    Open,
    Reserve,
    Settle,
    Transfer,
)

S = TypeVar("S")
T = TypeVar("T")

_LEAST = Amount(1, 0)
"""The least that a request may reserve. Some models cost nothing."""
MAX_IDLE_COMMITTERS = 4096
"""A committer keeps a copy of its balance. Beyond this number those without work are forgotten."""


class TableLedger:
    """Implements the `Ledger` port: one lane for each tenant and period, or several if the tenant is hot."""

    def __init__(
        self,
        store: TableStore,
        chain: HashChain,
        clock: Clock,
        max_idle_committers: int = MAX_IDLE_COMMITTERS,
        watch: CommitWatch = unwatched,
    ) -> None:
        self._watch = watch
        self._max_idle_committers = max_idle_committers
        self._store = store
        self._chain = chain
        self._clock = clock
        self._committers: dict[Lane, Committer] = {}
        self._adjusting: set[asyncio.Task[None]] = set()
        self._grants = GrantMarks(store, self)
        self._hot = HotLanes(self, clock, f"{random.getrandbits(64):016x}")

    async def open(self, account: Account) -> Balance:
        return await self.committer(account.vault, account).submit(Open())

    async def reserve(self, account: Account, reservation: Reservation) -> Hold:
        if account.lanes > 1:
            return await self._hot.reserve(account, reservation)
        committer, operation = self.committer(reservation.lane, account), Reserve(reservation, account.rate_limits)
        try:
            return Hold(reservation, await committer.submit(operation), account.rate_limits)
        except PeriodExhausted:
            if committer.balance is None or committer.balance.transferred == Amount():
                raise
        return await self._hot.reserve_in(account, operation)  # it was hot: other lanes still have part of its limit

    async def ask(self, account: Account) -> None:
        if account.lanes > 1:
            return
        committer = self.committer(account.vault, account)
        try:
            await committer.submit(Ask(_LEAST, account.rate_limits))
        except PeriodExhausted:
            if committer.balance is None or committer.balance.transferred == Amount():
                raise  # else it was hot: other lanes still have part of its limit

    async def settle(self, reservation: Reservation, outcome: Outcome) -> Balance:
        return await self.committer(reservation.lane).submit(Settle(reservation, outcome))

    async def expire(self, reservation: Reservation, outcome: Outcome) -> Balance:
        return await self.committer(reservation.lane).submit(Expire(reservation, outcome))

    async def change_limit(self, account: Account, actor: str, reason: str) -> Balance:
        committer = self.committer(account.vault, account)
        committer.forget_balance()  # a limit that is right by an old copy may be wrong by now
        balance = await committer.submit(ChangeLimit(account.limit, actor, reason))
        await self._hot.align_limits(account, actor, reason)
        return balance

    async def grant(self, account: Account, grant_id: str, amount: Amount, actor: str, reason: str) -> Limit:
        if (granted := await self.granted(account, grant_id)) is None:
            operation = Grant(grant_id=grant_id, amount=amount, actor=actor, reason=reason)
            await self.committer(account.vault, account).submit(operation)
            # Another process may have granted the id meanwhile; then it is found here.
            granted = await self.granted(account, grant_id)
        if granted is None:
            raise RowsDamaged(f"The grant '{grant_id}' in {account.period} has a mark and no entry.")
        if granted.amount != amount:
            raise AlreadyExists(f"The grant '{grant_id}' was made with another amount in {account.period}.")
        return granted.limit

    async def granted(self, account: Account, grant_id: str) -> Granted | None:
        return await self._grants.find(account.vault, grant_id)

    async def level_lanes(self, account: Account) -> int:
        recovered = await self._hot.recover(account.vault)
        await self._hot.align_limits(account, "tallygate", "the vault's limit")
        return recovered

    async def begin_closing(self, account: Account) -> None:
        await self._begin_closing(account.vault, account)
        async for lane in self.lanes(account.period, account.tenant_id):
            await self._begin_closing(lane)

    async def close(self, account: Account) -> None:
        # Transfers are completed first, because a closed lane refuses its side of one.
        # The vault closes last, so that a closed vault means that all lanes are closed.
        await self._hot.recover(account.vault, is_last=True)
        lanes = [lane async for lane in self.lanes(account.period, account.tenant_id)]
        for lane in reversed(lanes):
            committer = self.committer(lane)
            if (await committer.submit(Open())).state is not LaneState.CLOSED:
                await committer.submit(Close())

    async def balance(self, lane: Lane) -> Balance | None:
        try:
            row = await self._store.get(table_of(lane.period), partition_of(lane), BALANCE_KEY)
        except TableMissing:
            return None
        except AnswerLost as error:
            raise LedgerUnavailable from error
        return balance_from(row.fields) if row else None

    async def balances(self, tenant_id: str, period: str) -> dict[Lane, Balance]:
        lanes = [lane async for lane in self.lanes(period, tenant_id)]
        found = await asyncio.gather(*(self.balance(lane) for lane in lanes))
        return {lane: balance for lane, balance in zip(lanes, found, strict=True) if balance is not None}

    async def entries(self, lane: Lane, first: int, last: int) -> AsyncIterator[LedgerEntry]:
        async for row in self._scan(table_of(lane.period), partition_of(lane), entry_key(first), entry_key(last + 1)):
            yield entry_from(row, lane)

    async def reservations(self, lane: Lane) -> AsyncIterator[Reservation]:
        table, partition = table_of(lane.period), partition_of(lane)
        rows = self._scan(table, partition, *RESERVATION_RANGE)
        place = f"{table}/{partition}"
        async for reservation in readable(rows, lambda row: reservation_from(lane, row.key, row.fields), place):
            yield reservation

    async def transfers(self, lane: Lane, since: str) -> AsyncIterator[Transfer]:
        """Read a lane's transfers, sent and received, with ids from `since` on. Raises `LedgerUnavailable`."""
        _, end = TRANSFER_RANGE
        async for row in self._scan(table_of(lane.period), partition_of(lane), transfer_key(since), end):
            yield transfer_from(row.key, row.fields)

    async def lanes(self, period: str, tenant_id: str | None = None) -> AsyncIterator[Lane]:
        first, end = ("", "~") if tenant_id is None else (f"{tenant_id}|", f"{tenant_id}}}")
        rows = self._scan(REGISTRY_TABLE, period, first, end)
        async for lane in readable(rows, lambda row: lane_from(row.key, period), f"{REGISTRY_TABLE}/{period}"):
            yield lane

    async def periods(self) -> AsyncIterator[BillingPeriod]:
        try:
            names = self._store.partitions(REGISTRY_TABLE)
            async for period in readable(names, BillingPeriod.parse, REGISTRY_TABLE):
                yield period
        except AnswerLost as error:
            raise LedgerUnavailable from error

    def genesis(self, lane: Lane) -> str:
        return genesis(lane.period, partition_of(lane))

    async def drain(self) -> None:
        while self._adjusting or self._hot.busy or not all(each.idle for each in self._committers.values()):
            await self._hot.finish()
            await asyncio.gather(*(committer.finish() for committer in self._committers.values()), *self._adjusting)

    def _adjust_later(self, operation: Settle | LateSettle, answer: asyncio.Future[Balance]) -> None:
        """Start a task that books a settlement of a closed period in the current one. It outlives the waiter."""
        task = asyncio.create_task(self._adjust(operation.reservation, operation.outcome, answer))
        self._adjusting.add(task)
        task.add_done_callback(self._adjusting.discard)

    async def _adjust(self, reservation: Reservation, outcome: Outcome, answer: asyncio.Future[Balance]) -> None:
        closed = self.committer(reservation.lane).reader
        balance = (await closed.balance(_never_give_up)).balance
        marker = await closed.row(marker_key(reservation.rid), _never_give_up)
        closed.recovered()
        if marker is not None:
            now = str(BillingPeriod.containing(self._clock.now()))
            committer = self.committer(Lane(reservation.lane.tenant_id, now))
            # Its period may not be open yet. Grants of the closed one are not granted again.
            limit = balance.limit.plus(Amount() - balance.granted)
            committer.reader.opening_limit = committer.reader.opening_limit or limit
            charged, usage = charged_from(marker.fields)
            adjusted = committer.enqueue(Adjust(reservation, outcome=outcome, charged=charged, charged_usage=usage))
            adjusted.add_done_callback(partial(_copy_result, answer))
        elif not answer.done():  # without a marker it was settled before the period closed: nothing is owed
            answer.set_result(balance)

    async def _begin_closing(self, lane: Lane, opening: Account | None = None) -> None:
        committer = self.committer(lane, opening)
        if (await committer.submit(Open())).state is LaneState.OPEN:
            await committer.submit(BeginClosing())

    def committer(self, lane: Lane, opening: Account | None = None) -> Committer:
        """Return the only writer of a lane in this process. `opening` has the limit under which a vault may open."""
        committer = self._committers.get(lane)
        if committer is None:
            if len(self._committers) >= self._max_idle_committers:
                self._committers = {key: known for key, known in self._committers.items() if not known.idle}
            reader = LaneReader(self._store, self._clock, lane)
            committer = Committer(self._store, self._chain, self._clock, reader, self._adjust_later, self._watch)
            self._committers[lane] = committer
        if opening is not None:
            committer.reader.opening_limit = opening.limit
        return committer

    async def _scan(self, table: str, partition: str, first: str, last: str) -> AsyncIterator[Row]:
        try:
            async for row in self._store.scan(table, partition, first, last):
                yield row
        except AnswerLost as error:
            raise LedgerUnavailable from error


def _never_give_up() -> None:
    """Let the reading go on however long storage is silent: the settlement is owed to the books."""


def _copy_result(answer: asyncio.Future[Balance], done: asyncio.Future[Balance]) -> None:
    """Give `answer` the result or the error of `done`, if somebody still waits."""
    if answer.done():
        return
    if error := done.exception():
        answer.set_exception(error)
    else:
        answer.set_result(done.result())
