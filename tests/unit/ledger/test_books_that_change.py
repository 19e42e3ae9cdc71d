"""Verification of books that are written all the time: what changes while it is read is no violation."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from shared.adapters.tables.books import TableBooks
from shared.adapters.tables.rollups import TableRollups
from shared.adapters.tables.store import InspectedRow
from shared.application.ledger.roll_up_usage import RollUpUsage
from shared.application.ledger.verify_ledger import VerifyLedger
from tests.tools.ledgers import PERIOD, FaultyStore, PriceRows, account, charge, reservation, sweep_by
from tests.unit.ledger.test_periods import CHAIN, World

MOVING = "I4 reservations, markers and rollups of 1 lanes: they were written during each reading"
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


async def a_tenant(lanes: int = 1) -> World:
    world = World()
    of_all = replace(account(tokens=None), lanes=lanes)
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


async def test_books_that_never_rest_are_verified_by_their_entries() -> None:
    world = await a_tenant()
    assert await verified(world, always(lambda: served(world))) == ([], [MOVING])


@pytest.mark.parametrize(
    ("key", "fields", "named"),
    [
        ("B", {"excess_tokens": 5}, "I7 entries sum to"),
        ("E|0000000000000002", {"user": "somebody else"}, "I2 entry 2"),
    ],
)
async def test_damage_is_found_in_books_that_never_rest(key: str, fields: dict[str, Any], named: str) -> None:
    world = await a_tenant()

    def damaged(row: InspectedRow) -> InspectedRow:
        return replace(row, fields={**row.fields, **fields}) if row.key == key else row

    def change(store: Any) -> None:
        always(lambda: world.ledger.reserve(account(tokens=None), reservation()))(store)
        store.read = damaged

    found, _ = await verified(world, change)
    assert any(each.startswith(named) for each in found)


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
        always(advanced)(store)
        store.read = damaged

    found, _ = await verified(world, change)
    assert [each for each in found if each.startswith("I11")] == []
    assert any(each.startswith("I7 entries sum to") for each in found)
