"""The ledger over a table service: one committer a lane, and the scans that reports and sweeps read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

from shared.adapters.tables.committer import Committer
from shared.adapters.tables.lane_reader import LaneReader
from shared.adapters.tables.rows import (
    BALANCE_KEY,
    REGISTRY_TABLE,
    RESERVATION_RANGE,
    balance_from,
    charged_from,
    entry_key,
    marker_key,
    partition_of,
    reservation_from,
    table_of,
)
from shared.adapters.tables.store import AnswerLost, Row, TableMissing, TableStore
from shared.application.ports import Clock
from shared.domain.audit import HashChain, genesis
from shared.domain.commit_plan import (
    Adjust,
    BeginClosing,
    ChangeLimit,
    Close,
    Expire,
    LateSettle,
    Open,
    Operation,
    Reserve,
    Settle,
)
from shared.domain.errors import LedgerUnavailable
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger import Account, Balance, LaneState, LedgerEntry, Outcome, Reservation

MAX_IDLE_COMMITTERS = 4096


class TableLedger:
    """Implements the `Ledger` port with one lane a tenant and period."""

    def __init__(
        self, store: TableStore, chain: HashChain, clock: Clock, max_idle_committers: int = MAX_IDLE_COMMITTERS
    ) -> None:
        self._max_idle_committers = max_idle_committers
        self._store = store
        self._chain = chain
        self._clock = clock
        self._committers: dict[tuple[str, str], Committer] = {}
        self._adjusting: set[asyncio.Task[None]] = set()

    async def open(self, account: Account) -> Balance:
        return await self._submit(account, Open())

    async def reserve(self, account: Account, reservation: Reservation) -> Balance:
        return await self._submit(account, Reserve(reservation, account.rates))

    async def settle(self, reservation: Reservation, outcome: Outcome) -> Balance:
        return await self._committer(reservation.tenant_id, reservation.period).submit(Settle(reservation, outcome))

    async def expire(self, reservation: Reservation, outcome: Outcome) -> Balance:
        return await self._committer(reservation.tenant_id, reservation.period).submit(Expire(reservation, outcome))

    async def change_limit(self, account: Account, actor: str, reason: str) -> Balance:
        return await self._submit(account, ChangeLimit(account.limit, actor, reason))

    async def begin_closing(self, account: Account) -> Balance:
        balance = await self.open(account)
        if balance.state is not LaneState.OPEN:
            return balance
        return await self._submit(account, BeginClosing())

    async def close(self, account: Account) -> Balance:
        balance = await self.open(account)
        if balance.state is LaneState.CLOSED:
            return balance
        return await self._submit(account, Close())

    async def balance(self, tenant_id: str, period: str) -> Balance | None:
        try:
            row = await self._store.get(table_of(period), partition_of(tenant_id), BALANCE_KEY)
        except TableMissing:
            return None
        except AnswerLost as error:
            raise LedgerUnavailable from error
        return balance_from(row.fields) if row else None

    async def entries(self, tenant_id: str, period: str, first: int, last: int) -> AsyncIterator[LedgerEntry]:
        async for row in self._scan(table_of(period), partition_of(tenant_id), entry_key(first), entry_key(last + 1)):
            yield LedgerEntry.from_fields(row.fields)

    async def reservations(self, tenant_id: str, period: str) -> AsyncIterator[Reservation]:
        async for row in self._scan(table_of(period), partition_of(tenant_id), *RESERVATION_RANGE):
            yield reservation_from(row.key, row.fields)

    async def tenants(self, period: str) -> AsyncIterator[str]:
        async for row in self._scan(REGISTRY_TABLE, period, "", "~"):
            yield row.key.partition("|")[0]

    def genesis(self, tenant_id: str, period: str) -> str:
        return genesis(period, partition_of(tenant_id))

    async def drain(self) -> None:
        while self._adjusting or not all(committer.idle for committer in self._committers.values()):
            await asyncio.gather(*(committer.finish() for committer in self._committers.values()), *self._adjusting)

    def _adjust_later(self, operation: Settle | LateSettle, answer: asyncio.Future[Balance]) -> None:
        """A settlement whose period has closed is booked in the period of now, whoever still waits for it."""
        task = asyncio.create_task(self._adjust(operation.reservation, operation.outcome, answer))
        self._adjusting.add(task)
        task.add_done_callback(self._adjusting.discard)

    async def _adjust(self, reservation: Reservation, outcome: Outcome, answer: asyncio.Future[Balance]) -> None:
        closed = self._committer(reservation.tenant_id, reservation.period).reader
        balance = (await closed.balance(_stay)).balance
        marker = await closed.row(marker_key(reservation.rid), _stay)
        closed.recovered()
        if marker is not None:
            now = str(BillingPeriod.containing(self._clock.now()))
            committer = self._committer(reservation.tenant_id, now)
            committer.reader.opening_limit = committer.reader.opening_limit or balance.limit
            adjusted = committer.enqueue(Adjust(reservation, outcome, *charged_from(marker.fields)))
            adjusted.add_done_callback(partial(_pass_on, answer))
        elif not answer.done():  # else nobody waits; either way it was settled before the period closed
            answer.set_result(balance)

    async def _submit(self, account: Account, operation: Operation) -> Balance:
        committer = self._committer(account.tenant_id, account.period)
        committer.reader.opening_limit = account.limit
        return await committer.submit(operation)

    def _committer(self, tenant_id: str, period: str) -> Committer:
        committer = self._committers.get((tenant_id, period))
        if committer is None:
            if len(self._committers) >= self._max_idle_committers:
                self._committers = {key: known for key, known in self._committers.items() if not known.idle}
            reader = LaneReader(self._store, self._clock, tenant_id, period)
            committer = Committer(self._store, self._chain, self._clock, reader, self._adjust_later)
            self._committers[tenant_id, period] = committer
        return committer

    async def _scan(self, table: str, partition: str, first: str, last: str) -> AsyncIterator[Row]:
        try:
            async for row in self._store.scan(table, partition, first, last):
                yield row
        except AnswerLost as error:
            raise LedgerUnavailable from error


def _stay() -> None:
    """What is owed is read however long it takes."""


def _pass_on(answer: asyncio.Future[Balance], done: asyncio.Future[Balance]) -> None:
    """Tell the one who waits how it ended."""
    if answer.done():
        return
    if error := done.exception():
        answer.set_exception(error)
    else:
        answer.set_result(done.result())
