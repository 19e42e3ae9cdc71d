"""Reads one lane with patience: what the committer must know of its rows before it may decide anything."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from shared.adapters.tables.rows import (
    BALANCE_KEY,
    REGISTRY_TABLE,
    balance_fields,
    balance_from,
    partition_of,
    table_of,
)
from shared.adapters.tables.store import AnswerLost, Insert, Row, RowExists, TableMissing, TableStore
from shared.application.ports import Clock
from shared.domain.audit import genesis
from shared.domain.errors import PeriodNotOpen
from shared.domain.ledger import Balance, Limit
from shared.domain.values import value

PATIENCE_SECONDS = 2.0
FIRST_BACKOFF_SECONDS = 0.05
LONGEST_BACKOFF_SECONDS = 5.0

GiveUp: TypeAlias = Callable[[], None]
"""Called each time that storage has been silent for longer than `PATIENCE_SECONDS`; ends the reading by raising."""


@value
class Copy:
    """The balance row as last seen."""

    balance: Balance
    etag: str
    seen_at: float


@dataclass(slots=True, eq=False)
class LaneReader:
    """Reads until storage answers, backing off."""

    store: TableStore
    clock: Clock
    tenant_id: str
    period: str
    opening_limit: Limit | None = None
    _down_since: float | None = None
    _backoff: float = FIRST_BACKOFF_SECONDS

    @property
    def table(self) -> str:
        return table_of(self.period)

    @property
    def partition(self) -> str:
        return partition_of(self.tenant_id)

    async def balance(self, give_up: GiveUp) -> Copy:
        """The balance row, opened if it does not exist. Raises `PeriodNotOpen` where no limit to open it is known."""
        while True:
            try:
                row = await self.row(BALANCE_KEY, give_up)
            except TableMissing:
                row = None
            if row is not None:
                return Copy(balance_from(row.fields), row.etag, self.clock.monotonic())
            await self._open(give_up)

    async def row(self, key: str, give_up: GiveUp) -> Row | None:
        """One row of the lane. Raises `TableMissing`."""
        while True:
            try:
                row = await self.store.get(self.table, self.partition, key)
            except AnswerLost:
                await self.back_off(give_up)
            else:
                return row

    async def _open(self, give_up: GiveUp) -> None:
        """Insert the registry row and then the balance row, each if absent."""
        if self.opening_limit is None:
            raise PeriodNotOpen(f"The billing period {self.period} was never opened for this tenant.")
        limit = self.opening_limit
        balance = Balance(genesis(self.period, self.partition), limit, limit)
        for table, partition, row in (
            (REGISTRY_TABLE, self.period, Insert(self.partition, {})),
            (self.table, self.partition, Insert(BALANCE_KEY, balance_fields(balance))),
        ):
            try:
                await self.store.create_table(table)
                await self.store.submit(table, partition, [row], "open")
            except RowExists:
                continue
            except AnswerLost:
                await self.back_off(give_up)
                return

    async def back_off(self, give_up: GiveUp) -> None:
        """Wait, longer each time, before storage is asked again."""
        now = self.clock.monotonic()
        if self._down_since is None:
            self._down_since = now
        if now - self._down_since >= PATIENCE_SECONDS:
            give_up()
        await self.clock.sleep(self._backoff * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
        self._backoff = min(LONGEST_BACKOFF_SECONDS, self._backoff * 2)

    def recovered(self) -> None:
        """Storage has answered what it was asked: the next failure begins a new outage."""
        self._down_since = None
        self._backoff = FIRST_BACKOFF_SECONDS
