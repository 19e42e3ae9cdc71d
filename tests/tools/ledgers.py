"""Builders of ledger objects, and a table store with faults that a test arms."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Literal

from shared.adapters.documents.jobs import DocumentCursors
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.adapters.tables.store import (
    AnswerLost,
    InspectableStore,
    InspectedRow,
    Row,
    RowChange,
    StoreError,
    TableStore,
)
from shared.application.ports.clock import Clock
from shared.application.ports.pricing import StoredPrices
from shared.application.sweep import Sweep
from shared.domain.audit.events import AuditEvent
from shared.domain.identifiers import new_rid, timestamp
from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.ledger.balance import Account, Lane
from shared.domain.ledger.entries import Attempt, EntryKind, Outcome, Reservation
from shared.domain.pricing.price import Price
from shared.domain.pricing.usage import Meter, Usage

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
PERIOD = "2026-11"
EARLY = datetime(2020, 1, 1, tzinfo=UTC)
PRICES = [
    Price(model="gpt-4o", meter=Meter.INPUT, usd_per_million="2.50", effective_from=EARLY),
    Price(model="gpt-4o", meter=Meter.OUTPUT, usd_per_million="10.00", effective_from=EARLY),
]
VERSION = ".".join(price.price_id for price in PRICES)
PUSD = {"input": 2_500_000, "output": 10_000_000}


def sweep_by(clock: Clock, slice_seconds: float = 120) -> Sweep:
    """Make a sweep that nobody shares its cursors with."""
    return Sweep(DocumentCursors(InMemoryDocuments()), clock, slice_seconds)


@dataclass(slots=True)
class ManualClock:
    """A clock that a test moves. Sleeping moves it, too."""

    moment: datetime = NOW
    seconds: float = 0.0

    def now(self) -> datetime:
        return self.moment + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        await asyncio.sleep(0)


def attempt(**changes: object) -> Attempt:
    facts: dict[str, object] = {
        "deployment": "gpt-4o",
        "backend": "se",
        "region": "swedencentral",
        "model": "gpt-4o",
        "price_version": VERSION,
        "user": "ann",
        "key_id": "acme-1",
        "request_id": "r1",
        "cost_center": "CC-1",
        "streamed": False,
    }
    return Attempt(**{**facts, **changes})  # type: ignore[arg-type]


def account(tenant: str = "acme", tokens: int | None = 1000, pusd: int | None = None, period: str = PERIOD) -> Account:
    return Account(tenant_id=tenant, period=period, limit=Limit(tokens, pusd))


def reservation(
    tenant: str = "acme", input_tokens: int = 10, output_tokens: int = 20, *, minutes: float = 5, period: str = PERIOD
) -> Reservation:
    amount = Amount(input_tokens + output_tokens, input_tokens * PUSD["input"] + output_tokens * PUSD["output"])
    return Reservation(
        rid=new_rid(),
        lane=Lane(tenant, period),
        amount=amount,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        created=timestamp(NOW),
        deadline=timestamp(NOW + timedelta(minutes=minutes)),
        instance="test",
        attempt=attempt(),
    )


def charge(input_tokens: int = 8, output_tokens: int = 9, kind: EntryKind = EntryKind.CHARGE) -> Outcome:
    usage = Usage(input=input_tokens, output=output_tokens)
    pusd = input_tokens * PUSD["input"] + output_tokens * PUSD["output"]
    return Outcome(kind=kind, amount=Amount(usage.total_tokens, pusd), usage=usage, status=200)


VOID = Outcome(kind=EntryKind.VOID, status=500, error_code="upstream_500")
Fault = Literal["lost request", "lost response", "zombie"]
MAX_SUBMITS = 5000
"""More transactions than any test makes: a committer that would repeat one for ever fails instead."""


@dataclass(slots=True)
class FaultyStore:
    """Passes calls on to a store, except those for which a fault is armed.

    - `lost request`: the request is not applied and not answered.
    - `lost response`: the request is applied and not answered.
    - `zombie`: the request is not answered, and applied only before the next read.
    """

    store: InspectableStore
    on_submit: list[Fault | StoreError | None] = field(default_factory=list)
    on_get: list[Fault | StoreError | None] = field(default_factory=list)
    is_down: bool = False
    takes_no_writes: bool = False
    before_submit: Callable[[], None] | None = None
    before_next_get: Callable[[], Awaitable[None]] | None = None
    submits: int = 0
    _stuck: list[tuple[str, str, Sequence[RowChange], str]] = field(default_factory=list)

    async def create_table(self, table: str) -> None:
        if self.is_down:
            raise AnswerLost
        await self.store.create_table(table)

    async def get(self, table: str, partition: str, key: str) -> Row | None:
        await self._revive()
        if self.before_next_get is not None:
            hook, self.before_next_get = self.before_next_get, None
            await hook()
        fault = self.on_get.pop(0) if self.on_get else None
        if isinstance(fault, StoreError):
            raise fault
        if self.is_down or fault:
            raise AnswerLost
        return await self.store.get(table, partition, key)

    async def submit(self, table: str, partition: str, changes: Sequence[RowChange], commit_id: str) -> str:
        self.submits += 1
        assert self.submits < MAX_SUBMITS, "the committer repeats its transaction for ever"
        if self.before_submit is not None:
            self.before_submit()
        fault = self.on_submit.pop(0) if self.on_submit else None
        if isinstance(fault, StoreError):
            raise fault
        if self.is_down or self.takes_no_writes or fault == "lost request":
            raise AnswerLost
        if fault == "zombie":
            self._stuck.append((table, partition, changes, commit_id))
            raise AnswerLost
        etag = await self.store.submit(table, partition, changes, commit_id)
        if fault == "lost response":
            raise AnswerLost
        return etag

    async def scan(self, table: str, partition: str, first: str, last: str) -> AsyncIterator[Row]:
        if self.is_down:
            raise AnswerLost
        async for row in self.store.scan(table, partition, first, last):
            yield row

    async def inspect(self, table: str, partition: str, first: str, end: str = "") -> AsyncIterator[InspectedRow]:
        if self.is_down:
            raise AnswerLost
        async for row in self.store.inspect(table, partition, first, end):
            yield row

    async def partitions(self, table: str, first: str = "", end: str = "") -> AsyncIterator[str]:
        if self.is_down:
            raise AnswerLost
        async for name in self.store.partitions(table, first, end):
            yield name

    async def _revive(self) -> None:
        for stuck in self._stuck:
            try:
                await self.store.submit(*stuck)
            except StoreError:
                continue
        self._stuck.clear()


async def rows_of(store: TableStore, table: str, partition: str) -> dict[str, Row]:
    """Read all rows of a partition, by key."""
    return {row.key: row async for row in store.scan(table, partition, "", "~")}


class PriceRows:
    """A price store of fixed rows."""

    async def load(self) -> StoredPrices:
        return StoredPrices(PRICES, ())

    async def insert(self, price: Price, event: AuditEvent) -> tuple[Price, bool]:
        PRICES.append(price)
        return price, True

    async def restore(self, price: Price) -> None:
        PRICES.append(price)
