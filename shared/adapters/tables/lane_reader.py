"""Read the rows of one lane on which the committer decides, and try again until storage answers."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
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
from shared.application.ports.clock import Clock
from shared.domain.audit.hash_chain import genesis
from shared.domain.errors import PeriodNotOpen
from shared.domain.ledger.amounts import Limit
from shared.domain.ledger.balance import Balance, Lane, LaneState
from shared.domain.ledger.lanes import lane_limit
from shared.domain.values import value

PATIENCE_SECONDS = 2.0
"""Storage may be silent for this long before those who wait are told so."""
FIRST_BACKOFF_SECONDS = 0.05
LONGEST_BACKOFF_SECONDS = 5.0

GiveUp: TypeAlias = Callable[[], None]
"""Called before each retry once storage has been silent for `PATIENCE_SECONDS`. It raises to end the reading."""


@value
class BalanceCopy:
    """The balance row as last seen."""

    balance: Balance
    etag: str
    seen_at: float
    """Monotonic seconds."""


@dataclass(slots=True, eq=False)
class LaneReader:
    """Reads one lane. Every reading is repeated, with growing pauses, until storage answers."""

    store: TableStore
    clock: Clock
    lane: Lane
    opening_limit: Limit | None = None
    """The tenant's limit, under which a vault may be opened; `None` if it is not known."""
    table: str = field(init=False)
    partition: str = field(init=False)
    _silent_since: float | None = None
    """Monotonic seconds; `None` while storage answers."""
    _backoff: float = FIRST_BACKOFF_SECONDS

    def __post_init__(self) -> None:
        self.table = table_of(self.lane.period)
        self.partition = partition_of(self.lane)

    async def balance(self, give_up: GiveUp) -> BalanceCopy:
        """Read the balance row. Opens the lane if it has none.

        Raises `PeriodNotOpen` for a vault whose opening limit is not known. Raises it for another lane if there is no
        vault or the vault is closed.
        """
        while True:
            try:
                row = await self.row(BALANCE_KEY, give_up)
            except TableMissing:
                row = None
            if row is not None:
                return BalanceCopy(balance_from(row.fields), row.etag, self.clock.monotonic())
            await self._open(give_up)

    async def row(self, key: str, give_up: GiveUp) -> Row | None:
        """Read one row of the lane; `None` if it does not exist. Raises `TableMissing`."""
        while True:
            try:
                row = await self.store.get(self.table, self.partition, key)
            except AnswerLost:
                await self.back_off(give_up)
            else:
                return row

    async def _open(self, give_up: GiveUp) -> None:
        """Insert the registry row and then the balance row, each if absent. Idempotent.

        The order matters to whoever changes the limit or closes the period, because they look in the registry. A lane
        that they do not find there reads its vault only after they have changed that.
        """
        if self.lane.number == 0 and self.opening_limit is None:
            raise PeriodNotOpen(f"The billing period {self.lane.period} was never opened for this tenant.")
        # Raced by other processes: each inserts the same rows, and one that was faster counts as success.
        try:
            await self._insert(REGISTRY_TABLE, self.lane.period, Insert(self.partition, {}))
            limit, state = await self._opening()
            balance = Balance(head=genesis(self.lane.period, self.partition), limit=limit, limit0=limit, state=state)
            await self._insert(self.table, self.partition, Insert(BALANCE_KEY, balance_fields(balance)))
        except AnswerLost:
            await self.back_off(give_up)

    async def _insert(self, table: str, partition: str, row: Insert) -> None:
        await self.store.create_table(table)
        try:
            await self.store.submit(table, partition, [row], "open")
        except RowExists:
            return

    async def _opening(self) -> tuple[Limit, LaneState]:
        """Return the limit and state with which the lane begins.

        The vault begins with the tenant's limit. Another lane has no limit of its own and takes over the vault's state.
        """
        if self.lane.number == 0 and self.opening_limit is not None:
            return self.opening_limit, LaneState.OPEN
        row = await self.store.get(self.table, partition_of(self.lane.vault), BALANCE_KEY)
        vault = balance_from(row.fields) if row else None
        if vault is None or vault.state is LaneState.CLOSED:
            raise PeriodNotOpen(f"The billing period {self.lane.period} is not open for this tenant.")
        return lane_limit(vault.limit), vault.state

    async def back_off(self, give_up: GiveUp) -> None:
        """Pause before a retry, longer each time. Calls `give_up` after `PATIENCE_SECONDS` of silence."""
        now = self.clock.monotonic()
        if self._silent_since is None:
            self._silent_since = now
        if now - self._silent_since >= PATIENCE_SECONDS:
            give_up()
        # Jitter: processes that lost storage at one moment must not all come back at one moment.
        await self.clock.sleep(self._backoff * random.uniform(0.5, 1.0))  # noqa: S311 - no secret
        self._backoff = min(LONGEST_BACKOFF_SECONDS, self._backoff * 2)

    def recovered(self) -> None:
        """Note that storage has answered: the next failure begins a new outage, with short pauses."""
        self._silent_since = None
        self._backoff = FIRST_BACKOFF_SECONDS
