"""A tenant moves to another cost center within a month: each center pays what was spent under it."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import pytest

from shared.adapters.in_memory.reports import InMemoryReports
from shared.adapters.statements.json_manifest import JsonManifest
from shared.adapters.statements.json_statements import JsonStatements
from shared.application.billing.verify_statements import VerifyStatements
from tests.tools.ledgers import PriceRows, account, attempt, charge, reservation
from tests.unit.ledger.test_periods import CLOSING_TIME, World


@pytest.fixture
async def world() -> World:
    """Yield an exported month in which acme spent 99 USD under CC-1, and then 1 USD under CC-2."""
    world = World()
    for tenant in ("acme", "idle"):
        await world.register(tenant)
    for center, input_tokens in (("CC-1", 39_600_000), ("CC-2", 400_000)):
        hold = replace(reservation(input_tokens=input_tokens), attempt=attempt(cost_center=center))
        await world.ledger.reserve(account(tokens=None), hold)
        await world.ledger.settle(hold, charge(input_tokens, 0))
    await world.ledger.reserve(account("idle"), reservation("idle"))
    world.clock.moment = CLOSING_TIME
    await world.export()
    return world


async def test_each_cost_center_pays_what_was_spent_under_it(world: World) -> None:
    statements = await world.statements()
    assert statements["cost_centers"] == [
        {"cost_center": "CC-1", "cost_usd": "99.00"},
        {"cost_center": "CC-2", "cost_usd": "1.00"},
    ]
    acme = statements["tenants"][0]
    assert [(line.get("cost_center"), line["cost_usd"]) for line in acme["lines"]] == [
        ("CC-1", "99.00"),
        (None, "1.00"),
    ]
    assert (acme["cost_center"], acme["total_cost_usd"]) == ("CC-2", "100.00")


async def test_the_rows_of_the_table_name_the_cost_center_of_their_entries(world: World) -> None:
    content = await world.reports.read("2026-11/statements.csv") or b""
    rows = [row for row in csv.DictReader(io.StringIO(content.decode())) if row["tenant_id"] == "acme"]
    assert [(row["cost_center"], row["cost_usd"]) for row in rows] == [("CC-1", "99.00"), ("CC-2", "1.00")]


async def test_a_late_settlement_is_charged_to_the_cost_center_of_its_reservation() -> None:
    world = World()
    await world.register("acme")
    slow, later = (replace(reservation(), attempt=attempt(cost_center=center)) for center in ("CC-1", "CC-2"))
    await world.ledger.reserve(account(tokens=None), slow)
    await world.ledger.reserve(account(tokens=None), later)
    await world.ledger.settle(later, charge(0, 100_000))
    world.clock.moment = CLOSING_TIME
    await world.expire()
    await world.ledger.settle(slow, charge(0, 200_000))
    await world.export()
    assert (await world.statements())["cost_centers"] == [
        {"cost_center": "CC-1", "cost_usd": "2.00"},
        {"cost_center": "CC-2", "cost_usd": "1.00"},
    ]


@pytest.mark.parametrize(
    ("stated", "paid"),
    [({"CC-1": "0.00", "CC-2": "100.00"}, "99.00"), ({"CC-2": "100.00"}, "99.00"), ({"CC-3": "100.00"}, "99.00")],
)
async def test_costs_that_are_moved_to_another_center_are_found(
    world: World, stated: dict[str, str], paid: str
) -> None:
    path = "2026-11/statements.json"
    content = await world.reports.read(path) or b""
    statements = JsonStatements().read(content)
    forged = replace(statements, cost_centers={name: int(usd.replace(".", "")) for name, usd in stated.items()})
    reports = InMemoryReports()
    await reports.write_once(path, JsonStatements().render(forged))
    await reports.write_once("2026-11/manifest.json", await world.reports.read("2026-11/manifest.json") or b"")
    verify = VerifyStatements(world.ledger, PriceRows(), reports, JsonStatements(), JsonManifest())
    messages = [finding.message for finding in await verify("2026-11")]
    assert any(
        f"cost center CC-1 pays {stated.get('CC-1', 'nothing')}, its lines add up to {paid}" in each
        for each in messages
    )
