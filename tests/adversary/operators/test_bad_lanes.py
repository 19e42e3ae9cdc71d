"""One lane that is damaged, slow or without prices stops no timer: all other lanes are served, and it is named."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from shared import timers
from shared.adapters.tables.rollups import TableRollups
from shared.adapters.tables.store import Delete, Insert, Merge
from shared.application.ledger.level_lanes import LevelLanes
from shared.application.ledger.roll_up_usage import RollUpUsage
from shared.application.sweep import SweepFailed
from shared.domain.errors import TenantsDamaged
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.ledger.balance import Account, Lane, LaneState
from shared.domain.ledger.operations import TransferOut
from tests.tools.ledgers import PERIOD, account, attempt, charge, reservation, rows_of, sweep_by
from tests.tools.stack import Stack, eventually
from tests.unit.ledger.test_periods import CLOSING_TIME, World

TABLE = "ledger202611"
TENANTS = ("amber", "bad", "zebra")
"""The damaged tenant stands between two others."""
Damage = Callable[[World], Awaitable[None]]


async def spoil(world: World, key: str, **fields: Any) -> None:
    """Write fields into a row of the bad tenant's vault, past the gateway."""
    row = (await rows_of(world.rows, TABLE, "bad|00"))[key]
    await world.rows.submit(TABLE, "bad|00", [Merge(key, fields, row.etag)], "spoiled")


async def spoil_state(world: World) -> None:
    await spoil(world, "B", state="BROKEN")


async def spoil_number(world: World) -> None:
    await spoil(world, "B", used_tokens="many")


async def add_reservation(world: World) -> None:
    await world.rows.submit(TABLE, "bad|00", [Insert("P|0", {"deadline": "2020-01-01T00:00:00.000Z"})], "spoiled")


async def add_lane(world: World) -> None:
    await world.rows.submit("registry", PERIOD, [Insert("bad|vault", {})], "spoiled")


async def books(hold_each: bool = False) -> World:
    """Write a charge for each tenant, and a reservation that nobody settles."""
    world = World()
    for tenant in TENANTS:
        held = reservation(tenant)
        await world.ledger.reserve(account(tenant), held)
        await world.ledger.settle(held, charge())
        if hold_each:
            await world.ledger.reserve(account(tenant), reservation(tenant))
    return world


def fresh(world: World) -> World:
    """Return another process over the same rows, which has cached nothing."""
    return World(clock=world.clock, rows=world.rows)


@pytest.mark.parametrize("damage", [spoil_state, spoil_number, add_reservation, add_lane])
async def test_reservations_of_all_other_lanes_expire(damage: Damage) -> None:
    world = await books(hold_each=True)
    await damage(world)
    world = fresh(world)
    world.clock.seconds = 600
    with pytest.raises(SweepFailed, match="bad"):
        await world.expire()
    for tenant in ("amber", "zebra"):
        balance = await world.ledger.balance(Lane(tenant, PERIOD))
        assert balance is not None
        assert balance.open_reservations == 0


async def test_a_damaged_reservation_keeps_no_other_of_its_lane_from_expiring() -> None:
    world = await books(hold_each=True)
    await add_reservation(world)
    world.clock.seconds = 600
    with pytest.raises(SweepFailed, match=r"2026-11\|bad\|00: .*the list: RowsDamaged: .*P\|0"):
        await world.expire()
    assert [key for key in await rows_of(world.rows, TABLE, "bad|00") if key.startswith("P|")] == ["P|0"]


@pytest.mark.parametrize("damage", [spoil_state, spoil_number, add_reservation])
async def test_every_other_tenant_is_closed(damage: Damage) -> None:
    world = await books()
    await damage(world)
    world = fresh(world)
    world.clock.moment = CLOSING_TIME
    for _ in range(2):
        with pytest.raises(SweepFailed, match=r"1 failed. 2026-11\|bad\|00"):
            await world.close(BillingPeriod.parse(PERIOD))
        assert [await world.state(tenant, PERIOD) for tenant in ("amber", "zebra")] == [LaneState.CLOSED] * 2


async def test_a_reservation_without_prices_keeps_only_its_own_tenant_open() -> None:
    world = await books()
    lost = replace(reservation("bad"), attempt=attempt(price_version="0000000000"))
    for held in (lost, reservation("bad"), reservation("zebra")):
        await world.ledger.reserve(account(held.lane.tenant_id), held)
    world.clock.moment = CLOSING_TIME
    with pytest.raises(SweepFailed, match=f"bad.*{lost.rid}: UnpricedModel"):
        await world.close(BillingPeriod.parse(PERIOD))
    assert [await world.state(tenant, PERIOD) for tenant in TENANTS] == [
        LaneState.CLOSED, LaneState.CLOSING, LaneState.CLOSED
    ]  # fmt: skip


@pytest.mark.parametrize("damage", [spoil_state, add_lane])
async def test_a_new_month_begins_for_every_other_tenant(damage: Damage) -> None:
    world = await books()
    for tenant in TENANTS:
        await world.register(tenant)
    await damage(world)
    world.ledger._committers.clear()
    world.clock.moment = CLOSING_TIME.replace(day=1)
    with pytest.raises(SweepFailed, match="bad"):
        await world.open()
    assert [await world.state(tenant, "2026-12") for tenant in TENANTS] == [LaneState.OPEN] * 3
    assert [await world.state(tenant, PERIOD) for tenant in ("amber", "zebra")] == [LaneState.CLOSING] * 2


async def test_a_month_that_cannot_be_opened_for_one_tenant_opens_for_the_others() -> None:
    world = World()
    for tenant in TENANTS:
        await world.register(tenant)
    await world.rows.create_table(TABLE)
    await world.rows.submit(TABLE, "bad|00", [Insert("B", {"state": "BROKEN"})], "spoiled")
    with pytest.raises(SweepFailed, match=r"to open: SweepFailed: 1 failed. bad: RowsDamaged: .*KeyError"):
        await world.open()
    assert [await world.state(tenant, PERIOD) for tenant in ("amber", "zebra")] == [LaneState.OPEN] * 2


async def test_a_tenant_whose_document_is_damaged_keeps_no_other_month_from_opening() -> None:
    world = World()
    for tenant in TENANTS:
        await world.register(tenant)
    await world.tenants._documents.put("tenants", "bad", "tenant", "{")
    with pytest.raises(SweepFailed, match=r"to open: SweepFailed: 1 failed. the list: TenantsDamaged: .*bad\."):
        await world.open()
    assert [await world.state(tenant, PERIOD) for tenant in ("amber", "zebra")] == [LaneState.OPEN] * 2
    with pytest.raises(TenantsDamaged, match=r"cannot be read: bad\."):
        await world.tenants.list(9, None)


async def test_a_missing_entry_keeps_no_other_lane_from_being_summed() -> None:
    world = await books()
    await world.rows.submit(TABLE, "bad|00", [Delete("E|0000000000000001")], "spoiled")
    rollups = TableRollups(world.rows)
    roll_up = RollUpUsage(world.ledger, rollups, world.clock, sweep_by(world.clock))
    with pytest.raises(SweepFailed, match=r"1 failed. 2026-11\|bad\|00: EntriesMissing: Entry 1 is missing"):
        await roll_up()
    marks = [(await rollups.watermark(Lane(tenant, PERIOD))).seq for tenant in TENANTS]
    assert marks == [1, 0, 1]


async def test_lanes_of_other_hot_tenants_are_levelled() -> None:
    world = World()
    for tenant in TENANTS:
        limit = Account(tenant_id=tenant, period=PERIOD, limit=Limit(1000), lanes=2)
        await world.ledger.reserve(limit, reservation(tenant))
        await world.ledger.committer(Lane(tenant, PERIOD)).submit(TransferOut("0" * 32, 1, Amount(50)))
    row = (await rows_of(world.rows, TABLE, "bad|01"))["B"]
    await world.rows.submit(TABLE, "bad|01", [Merge("B", {"state": "BROKEN"}, row.etag)], "spoiled")
    world = fresh(world)
    with pytest.raises(SweepFailed, match=r"1 failed. 2026-11\|bad\|00"):
        await LevelLanes(world.ledger, world.clock, sweep_by(world.clock))()
    for tenant in ("amber", "zebra"):
        balances = await world.ledger.balances(tenant, PERIOD)
        assert sum(balance.transferred.tokens for balance in balances.values()) == 0


async def test_a_timer_that_could_not_do_everything_fails(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    await stack.chat()
    gateway: Any = await stack.gateway()
    period = str(BillingPeriod.containing(gateway.clock.now()))
    await gateway.ledger.books._store.submit("registry", period, [Insert("bad|vault", {})], "spoiled")
    for timer in ("expire_reservations", "level_lanes", "roll_up_usage"):
        with pytest.raises(SweepFailed, match=r"1 failed. the list: .*bad\|vault"):
            await getattr(timers, timer)(past_due=False)
        async with stack.session.post(f"{stack.url}/admin/functions/{timer}", json={}) as response:
            assert response.status == 202
        await eventually(lambda name=timer: f"timer {name} failed" in caplog.text)  # type: ignore[misc]
    assert (await stack.usage())["requests"] == 1
