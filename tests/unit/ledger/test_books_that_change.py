"""Verification of books that are written all the time: what changes while it is read is no violation."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from itertools import count
from random import Random
from typing import Any

import pytest

from shared.adapters.tables.books import TableBooks
from shared.adapters.tables.rollups import TableRollups
from shared.adapters.tables.store import InspectedRow
from shared.application.ledger.roll_up_usage import RollUpUsage
from shared.application.ledger.verify_ledger import VerifyLedger
from shared.domain.ledger.amounts import Amount
from shared.domain.ledger.entries import EntryKind, Reservation
from tests.tools.ledgers import PERIOD, VOID, FaultyStore, PriceRows, account, charge, reservation, sweep_by
from tests.unit.ledger.test_periods import CHAIN, World

MOVING = "I4 reservations, markers and rollups of 1 lanes: they were written during each reading"
PLENTY = account(tokens=10**9)
LEDGER = f"ledger{PERIOD.replace('-', '')}"


class WrittenStore(FaultyStore):
    """Lets something happen before each of the next readings of a balance, and changes what is read."""

    async def happens(self) -> None: ...

    def read(self, row: InspectedRow) -> InspectedRow | None:
        return row

    async def inspect(self, table: str, partition: str, first: str, end: str = "") -> AsyncIterator[InspectedRow]:
        if table == LEDGER and first == "B":
            await self.happens()
        async for row in super().inspect(table, partition, first, end):
            seen = self.read(row)
            if seen is not None:
                yield seen


async def verified(world: World, change: Callable[[WrittenStore], Any]) -> tuple[list[str], list[str]]:
    """Return the findings, and what was not checked."""
    store: Any = WrittenStore(world.rows)
    change(store)
    verify = VerifyLedger(TableBooks(store), PriceRows(), CHAIN)
    found = [f"{each.invariant} {each.message}" async for _, findings in verify(PERIOD) for each in findings]
    return found, [f"{each.invariant} {each.reason}" for each in verify.not_checked()]


async def a_tenant(tokens: int | None = None) -> World:
    world = World()
    of_all = account(tokens=tokens)
    for _ in range(3):
        hold = await world.ledger.reserve(of_all, reservation())
        await world.ledger.settle(hold.reservation, charge())
    return world


def always(happening: Callable[[], Awaitable[Any]], times: int = 10**6) -> Callable[[WrittenStore], None]:
    left = iter(range(times))

    async def happens() -> None:
        if next(left, None) is not None:
            await happening()

    def change(store: Any) -> None:
        store.happens = happens

    return change


async def served(world: World) -> None:
    """Serve a request, and admit another."""
    hold = await world.ledger.reserve(account(tokens=None), reservation())
    await world.ledger.settle(hold.reservation, charge())
    await world.ledger.reserve(account(tokens=None), reservation())


async def test_books_that_rest_after_a_while_are_verified_wholly() -> None:
    world = await a_tenant()
    assert await verified(world, always(lambda: served(world), times=7)) == ([], [])


async def test_books_that_never_rest_are_verified_wholly() -> None:
    world = await a_tenant()
    assert await verified(world, always(lambda: served(world))) == ([], [])


async def test_of_books_with_more_commits_than_a_balance_names_between_readings_entries_are_verified() -> None:
    world = await a_tenant()

    async def rushed() -> None:
        for _ in range(40):
            await world.ledger.reserve(account(tokens=None), reservation())

    assert await verified(world, always(rushed)) == ([], [MOVING])


class PagedStore(WrittenStore):
    """Reads two rows at a time, as a service whose answers have pages. Something happens before the first few pages."""

    async def inspect(self, table: str, partition: str, first: str, end: str = "") -> AsyncIterator[InspectedRow]:
        for number in count():
            if number < 3:
                await self.happens()
            page = [row async for row in self.store.inspect(table, partition, first, end)][:2]
            for row in page:
                seen = self.read(row)
                if seen is not None:
                    yield seen
            if len(page) < 2:
                return
            first = f"{page[-1].key} "


class Traffic:
    """Random operations on one lane: requests begin, end, expire, and settle after they have expired.

    A request lasts for as long as `lasting` others begin after it.
    """

    def __init__(self, world: World, seed: int, lasting: int = 0) -> None:
        self.lasting = lasting
        self.world = world
        self.random = Random(seed)
        self.open: list[Reservation] = []
        self.expired: list[Reservation] = []
        self.grants = 0

    async def __call__(self) -> None:
        for _ in range(self.random.choice((0, 0, 1, 2))):
            await self.random.choice((self.begin, self.begin, self.end, self.end, self.expire, self.late, self.grant))()

    async def begin(self) -> None:
        hold = await self.world.ledger.reserve(PLENTY, reservation())
        self.open.append(hold.reservation)

    async def end(self) -> None:
        if len(self.open) > self.lasting:
            ended = self.open.pop(self.random.randrange(len(self.open) - self.lasting))
            await self.world.ledger.settle(ended, self.random.choice((charge(), VOID)))

    async def expire(self) -> None:
        if len(self.open) > self.lasting:
            ended = self.open.pop(self.random.randrange(len(self.open) - self.lasting))
            await self.world.ledger.expire(ended, charge(kind=EntryKind.EXPIRE))
            self.expired.append(ended)

    async def late(self) -> None:
        if len(self.expired) > self.lasting:
            await self.world.ledger.settle(self.expired.pop(0), charge(1, 1))

    async def grant(self) -> None:
        self.grants += 1
        await self.world.ledger.grant(PLENTY, f"g{self.grants}", Amount(5, 0), "ann", "more")


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happens_between_the_pages_of_a_reading_is_no_violation(seed: int) -> None:
    world = await a_tenant(PLENTY.limit.tokens)
    store: Any = PagedStore(world.rows)
    store.happens = Traffic(world, seed)
    verify = VerifyLedger(TableBooks(store), PriceRows(), CHAIN)
    assert [each async for _, findings in verify(PERIOD) for each in findings] == []


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize(
    ("key", "fields", "named"),
    [
        ("B", {"reserved_tokens": 7}, "I4 holds sum to"),
        ("B", {"open_reservations": 1000}, "I4 "),
        ("P|", {"tokens": 10**5}, "I4 holds sum to"),
        ("X|", {"tokens": 10**5}, "I6 the marker of"),
        ("L|", None, "I6 the entry that was written with this row is there"),
        ("X|", None, "I6 "),
    ],
)
async def test_damage_beside_the_entries_is_found_in_books_that_never_rest(
    seed: int, key: str, fields: dict[str, Any] | None, named: str
) -> None:
    world = await a_tenant(PLENTY.limit.tokens)
    traffic = Traffic(world, seed)
    for act in (traffic.begin, traffic.begin, traffic.expire, traffic.grant, traffic.begin):
        await act()
    traffic.lasting = 10
    chosen = min([row.key async for row in world.rows.scan(LEDGER, "acme|00", key, f"{key}~")])
    kept = {"open": [each for each in traffic.open if each.rid not in chosen], "expired": []}
    vars(traffic).update(kept)

    def damaged(row: InspectedRow) -> InspectedRow | None:
        if row.key != chosen:
            return row
        return None if fields is None else replace(row, fields={**row.fields, **fields})

    store: Any = PagedStore(world.rows)
    store.happens, store.read = traffic, damaged
    verify = VerifyLedger(TableBooks(store), PriceRows(), CHAIN)
    found = [f"{each.invariant} {each.message}" async for _, findings in verify(PERIOD) for each in findings]
    assert any(each.startswith(named) for each in found), found
    assert list(verify.not_checked()) == []


@pytest.mark.parametrize(
    ("key", "fields", "named"),
    [
        ("B", {"excess_tokens": 5}, "I7 entries sum to"),
        ("E|0000000000000002", {"user": "somebody else"}, "I2 entry 2"),
    ],
)
async def test_damage_is_found_in_books_that_never_rest(key: str, fields: dict[str, Any], named: str) -> None:
    world = await a_tenant(PLENTY.limit.tokens)

    def damaged(row: InspectedRow) -> InspectedRow:
        return replace(row, fields={**row.fields, **fields}) if row.key == key else row

    def change(store: Any) -> None:
        always(lambda: world.ledger.reserve(PLENTY, reservation()))(store)
        store.read = damaged

    found, _ = await verified(world, change)
    assert any(each.startswith(named) for each in found)


async def test_markers_that_no_reading_shows_leave_something_open() -> None:
    """Each request expires right before a balance is read, and is settled right after it."""
    world = await a_tenant()

    class Between(WrittenStore):
        async def inspect(self, table: str, partition: str, first: str, end: str = "") -> AsyncIterator[InspectedRow]:
            if table == LEDGER and first in {"", "B"}:
                await (expired() if first else settled())
            async for row in self.store.inspect(table, partition, first, end):
                yield row

    waiting: list[Reservation] = []

    async def expired() -> None:
        hold = await world.ledger.reserve(account(tokens=None), reservation())
        await world.ledger.expire(hold.reservation, charge(kind=EntryKind.EXPIRE))
        waiting.append(hold.reservation)

    async def settled() -> None:
        for each in waiting:
            await world.ledger.settle(each, charge(1, 1))
        waiting.clear()

    verify = VerifyLedger(TableBooks(Between(world.rows)), PriceRows(), CHAIN)
    assert [each async for _, findings in verify(PERIOD) for each in findings] == []
    assert [f"{each.invariant} {each.reason}" for each in verify.not_checked()] == [MOVING]


async def test_a_balance_that_vanishes_during_the_reading_leaves_something_open() -> None:
    world = await a_tenant()
    readings = 0

    async def counted() -> None:
        nonlocal readings
        readings += 1

    def gone(row: InspectedRow) -> InspectedRow | None:
        return None if row.key == "B" and readings > 1 else row

    def change(store: Any) -> None:
        store.happens, store.read = counted, gone

    assert await verified(world, change) == ([], [MOVING])


async def test_entries_that_are_rolled_up_between_two_readings_are_added() -> None:
    world = await a_tenant()
    roll_up = RollUpUsage(world.ledger, TableRollups(world.rows), world.clock, sweep_by(world.clock))

    async def advanced() -> None:
        await served(world)
        await roll_up()

    def damaged(row: InspectedRow) -> InspectedRow:
        return replace(row, fields={**row.fields, "excess_tokens": 5}) if row.key == "B" else row

    def change(store: Any) -> None:
        always(advanced, times=25)(store)
        store.read = damaged

    found, _ = await verified(world, change)
    assert [each for each in found if each.startswith("I11")] == []
    assert any(each.startswith("I7 entries sum to") for each in found)


async def test_books_that_are_rolled_up_right_after_their_reading_are_read_again() -> None:
    world = await a_tenant()
    roll_up = RollUpUsage(world.ledger, TableRollups(world.rows), world.clock, sweep_by(world.clock))
    readings = 0

    async def rolled_up() -> None:
        nonlocal readings
        readings += 1
        if readings == 3:  # the balance was read before and after the other rows
            await roll_up()

    def damaged(row: InspectedRow) -> InspectedRow:
        return replace(row, fields={**row.fields, "excess_tokens": 5}) if row.key == "B" else row

    def change(store: Any) -> None:
        store.happens, store.read = rolled_up, damaged

    found, not_checked = await verified(world, change)
    assert [each.partition(" ")[0] for each in found] == ["I7"]
    assert (readings, not_checked) == (6, [])
