"""The ids of grants are chosen by callers: none meets a reservation, and none is granted twice or with two amounts."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from shared.adapters.tables.ledger import TableLedger
from shared.adapters.tables.store import Delete, Insert, RowChange
from shared.domain.errors import AlreadyExists, LedgerUnavailable, RowsDamaged
from shared.domain.identifiers import BillingPeriod, new_rid
from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.ledger.balance import Lane
from shared.domain.ledger.entries import EntryKind
from tests.tools.events import told
from tests.tools.ledgers import PERIOD, FaultyStore, account, charge, reservation, rows_of
from tests.tools.stack import Stack
from tests.unit.ledger.test_periods import CHAIN, CLOSING_TIME, World

TABLE = "ledger202612"
NEXT = "2026-12"


async def test_a_grant_named_like_a_late_settlement_neither_hides_it_nor_is_hidden_by_it() -> None:
    for grants_first in (True, False):
        world = World()
        held = reservation()
        await world.ledger.reserve(account(), held)
        world.clock.moment = CLOSING_TIME
        await world.close(BillingPeriod.parse(PERIOD))
        limit = account(period=NEXT)
        if grants_first:
            assert await world.ledger.grant(limit, held.rid, Amount(7), "eve", "free tokens") == Limit(1007)
        await world.ledger.settle(held, charge(5, 300))
        assert await world.ledger.grant(limit, held.rid, Amount(7), "eve", "free tokens") == Limit(1007)
        balance = await world.ledger.balance(Lane("acme", NEXT))
        assert balance is not None
        assert (balance.used.tokens, balance.granted) == (305 - 10, Amount(7))
        assert await world.findings(NEXT) == {"acme": []}


async def test_a_grant_and_the_settlement_of_its_name_share_a_commit() -> None:
    world = World()
    held = reservation()
    await world.ledger.reserve(account(), held)
    await asyncio.gather(
        world.ledger.settle(held, charge()), world.ledger.grant(account(), held.rid, Amount(7), "eve", "free tokens")
    )
    balance = await world.ledger.balance(Lane("acme", PERIOD))
    assert balance is not None
    assert (balance.used, balance.granted, balance.open_reservations) == (charge().amount, Amount(7), 0)


async def test_an_id_is_granted_with_one_amount() -> None:
    world = World()
    processes = [TableLedger(world.rows, CHAIN, world.clock) for _ in range(4)]
    answers = await asyncio.gather(
        *(each.grant(account(), "g", Amount(7 + number % 2), "ann", "r") for number, each in enumerate(processes)),
        return_exceptions=True,
    )
    granted = [answer for answer in answers if isinstance(answer, Limit)]
    assert len(granted) == 2
    assert len({*granted}) == 1
    assert [type(answer) for answer in answers if answer not in granted] == [AlreadyExists] * 2
    for amount in (Amount(9), Amount(7, 1)):
        with pytest.raises(AlreadyExists, match="'g' was made with another amount in 2026-11"):
            await world.ledger.grant(account(), "g", amount, "ann", "r")
    assert await world.findings() == {"acme": []}


async def test_the_same_grant_gets_the_first_answer_however_the_limit_has_changed_since() -> None:
    world = World()
    assert await world.ledger.grant(account(), "g", Amount(7), "ann", "r") == Limit(1007)
    await world.ledger.change_limit(account(tokens=5), "ann", "less")
    await world.ledger.grant(account(), "h", Amount(1), "ann", "r")
    assert await world.ledger.grant(account(), "g", Amount(7), "ann", "r") == Limit(1007)


async def as_earlier_versions_wrote(world: World, grant_id: str) -> None:
    """Give a grant the mark and the entry that earlier versions wrote."""
    changes: list[RowChange] = [Delete(f"L|grant|{grant_id}"), Insert(f"L|{grant_id}", {})]
    for key, row in (await rows_of(world.rows, "ledger202611", "acme|00")).items():
        if key.startswith("E|"):
            fields = {name: value for name, value in row.fields.items() if not name.startswith("before_")}
            await world.rows.submit("ledger202611", "acme|00", [Delete(key)], "old")
            changes.append(Insert(key, fields))
    await world.rows.submit("ledger202611", "acme|00", changes, "old")


@pytest.mark.parametrize("grant_id", ["launch", "01a2163c238b7ccea4b4a683f9ca1296"])
@pytest.mark.parametrize("earlier", [0, 3])
async def test_a_grant_of_an_earlier_version_is_not_made_again(grant_id: str, earlier: int) -> None:
    world, limit = World(), account(pusd=10)
    for number in range(earlier):
        await world.ledger.grant(limit, f"earlier-{number}", Amount(1), "ann", "r")
    await world.ledger.grant(limit, grant_id, Amount(7, 2), "ann", "r")
    await as_earlier_versions_wrote(world, grant_id)
    assert await world.ledger.grant(limit, grant_id, Amount(7, 2), "ann", "r") == Limit(1007 + earlier, 12)
    with pytest.raises(AlreadyExists):
        await world.ledger.grant(limit, grant_id, Amount(8), "ann", "r")
    entries = [each async for each in world.ledger.entries(Lane("acme", PERIOD), 1, 9)]
    assert [entry.kind for entry in entries] == [EntryKind.LIMIT] * (earlier + 1)


async def test_the_mark_of_an_adjustment_is_no_grant_of_an_earlier_version() -> None:
    world = World()
    await world.ledger.grant(account(), "first", Amount(3), "ann", "r")
    rid = new_rid()
    await world.rows.submit("ledger202611", "acme|00", [Insert(f"L|{rid}", {})], "old")
    assert await world.ledger.grant(account(), rid, Amount(7), "ann", "r") == Limit(1010)
    assert {key for key in await rows_of(world.rows, "ledger202611", "acme|00") if key.startswith("L|")} == {
        f"L|{rid}", "L|grant|first", f"L|grant|{rid}"
    }  # fmt: skip


async def test_a_grant_is_not_made_while_storage_cannot_be_reached() -> None:
    world = World()
    await world.ledger.open(account())
    unreachable = TableLedger(FaultyStore(world.rows, is_down=True), CHAIN, world.clock)
    with pytest.raises(LedgerUnavailable):
        await unreachable.grant(account(), "g", Amount(7), "ann", "r")


async def test_callers_learn_of_two_amounts_and_of_ids_that_are_none(stack: Stack) -> None:
    path = f"/manage/tenants/{stack.tenant}"
    await stack.manage("PATCH", path, {"monthly_quota_tokens": 1000})
    grant = {"tokens": 5, "reason": "r", "grant_id": "g"}
    first = await stack.manage("POST", f"{path}/grants", grant, status=201)
    await stack.manage("PATCH", path, {"monthly_quota_tokens": 10})
    assert await stack.manage("POST", f"{path}/grants", grant, status=201) == first
    error = (await stack.manage("POST", f"{path}/grants", {**grant, "tokens": 6}, status=409))["error"]
    assert error["code"] == "already_exists"
    for grant_id in ("a|b", "grant|g", "a/b", "", "x" * 65, "\u00e4"):
        refused = await stack.manage("POST", f"{path}/grants", {**grant, "grant_id": grant_id}, status=400)
        assert refused["error"]["param"] == "grant_id"


async def test_a_period_before_the_tenant_existed_is_neither_open_nor_granted(stack: Stack) -> None:
    gateway = await stack.gateway()
    current = BillingPeriod.containing(gateway.clock.now())
    path = f"/manage/tenants/{stack.tenant}"
    states = {
        str(period): (await stack.manage("GET", f"{path}/usage?period={period}"))["period_state"]
        for period in (current.previous(), current, current.next(), "2099-01", "1999-01")
    }
    not_open = "not_open"
    assert list(states.values()) == [not_open, "open", not_open, not_open, not_open]
    grant = {"tokens": 5, "reason": "r", "period": str(current.previous())}
    assert (await stack.manage("POST", f"{path}/grants", grant, status=400))["error"]["param"] == "period"


async def test_a_process_whose_clock_is_behind_grants_nothing_before_the_tenant_existed(stack: Stack) -> None:
    tenants = (await stack.gateway()).tenancy.tenants
    found = (await tenants.get(stack.tenant)).value
    later = found.created_at + timedelta(days=40)
    await tenants._tenants.replace(replace(found, created_at=later, monthly_quota_tokens=1000), "*", told())
    path = f"/manage/tenants/{stack.tenant}"
    answer = await stack.manage("POST", f"{path}/grants", {"tokens": 5, "reason": "r"}, status=400)
    assert answer["error"]["param"] == "period"
    assert (await stack.usage())["period_state"] == "not_open"


async def test_a_mark_without_an_entry_is_told_and_nothing_is_granted() -> None:
    world = World()
    await world.ledger.open(account())
    await world.rows.submit("ledger202611", "acme|00", [Insert("L|grant|g", {})], "spoiled")
    with pytest.raises(RowsDamaged, match="'g' in 2026-11 has a mark and no entry"):
        await world.ledger.grant(account(), "g", Amount(7), "ann", "r")
    balance = await world.ledger.balance(Lane("acme", PERIOD))
    assert balance is not None
    assert balance.granted == Amount()


async def test_grants_of_a_closed_month_are_not_granted_again_by_a_late_settlement() -> None:
    world = World()
    held = reservation()
    await world.ledger.reserve(account(), held)
    await world.ledger.grant(account(), "g", Amount(5000), "ann", "r")
    world.clock.moment = CLOSING_TIME
    await world.close(BillingPeriod.parse(PERIOD))
    await world.ledger.settle(held, charge(5, 300))
    balance = await world.ledger.balance(Lane("acme", NEXT))
    assert balance is not None
    assert balance.limit == Limit(1000)
