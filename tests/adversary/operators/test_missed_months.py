"""Nobody looked for months: every period that is over is closed and billed, however often a run dies on the way."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.adapters.in_memory.reports import InMemoryReports
from shared.adapters.tables.store import Insert
from shared.application.sweep import SweepFailed
from shared.domain.billing.manifest import StatementFile
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.balance import LaneState
from shared.domain.tenancy.tenant import Tenant
from tests.tools.events import told
from tests.tools.later_hosts import later_hosts
from tests.tools.ledgers import NOW, FaultyStore, account, attempt, charge, reservation
from tests.tools.stack import AzuriteAccount, Stack, running_azurite
from tests.unit.ledger.test_periods import World

MONTHS = ("2026-06", "2026-08", "2026-11")
LATER = datetime(2027, 1, 20, 2, tzinfo=UTC)
FILES = ("statements.json", "statements.csv", "manifest.json")


async def spend(world: World, tenant: str, period: str) -> None:
    """Book one charge of 17 tokens."""
    held = reservation(tenant, period=period)
    await world.ledger.reserve(account(tenant, period=period), held)
    await world.ledger.settle(held, charge())


@pytest.fixture
async def world() -> World:
    """Yield books of three months, two tenants each, that nobody has closed. One of the tenants is removed."""
    world = World()
    await world.register("acme")
    for month in MONTHS:
        for tenant in ("acme", "removed"):
            await spend(world, tenant, month)
    await world.ledger.reserve(account(period="2026-08"), reservation(period="2026-08"))
    world.clock.moment = LATER
    return world


def files_of(reports: InMemoryReports) -> dict[str, bytes]:
    return dict(reports._files)


async def test_every_older_period_is_closed_and_exported(world: World) -> None:
    exported = await world.export()
    assert [str(period) for period in exported] == [*MONTHS]
    assert all([file.name for file in files] == [*FILES] for files in exported.values())
    for month in MONTHS:
        statements = await world.statements(month)
        assert [tenant["tenant_id"] for tenant in statements["tenants"]] == ["acme", "removed"]
        assert await world.state("removed", month) is LaneState.CLOSED
    assert [tenant["estimated_tokens"] for tenant in (await world.statements("2026-08"))["tenants"]] == [10, 0]
    assert await world.export() == {}


async def test_a_period_within_its_grace_stays_open(world: World) -> None:
    for month in ("2026-12", "2027-01"):
        await spend(world, "acme", month)
    world.clock.moment = datetime(2027, 1, 2, 23, 59, tzinfo=UTC)
    assert [str(period) for period in await world.export()] == [*MONTHS]
    assert await world.state("acme", "2026-12") is LaneState.OPEN


async def test_a_period_that_cannot_be_closed_keeps_no_other_from_its_statements(world: World) -> None:
    lost = replace(reservation("acme", period="2026-06"), attempt=attempt(price_version="0000000000"))
    await world.ledger.reserve(account(period="2026-06"), lost)
    with pytest.raises(SweepFailed, match=r"1 failed. 2026-06: SweepFailed: .*UnpricedModel"):
        await world.export()
    assert set(files_of(world.reports)) == {f"{month}/{name}" for month in MONTHS[1:] for name in FILES}


class DyingReports(InMemoryReports):
    """Ends the process before or after one of the three files is written."""

    def __init__(self, dies_at: int) -> None:
        super().__init__()
        self._calls_left = dies_at

    async def write_once(self, path: str, content: bytes) -> None:
        self._step()
        await super().write_once(path, content)
        self._step()

    def _step(self) -> None:
        self._calls_left -= 1
        if self._calls_left == 0:
            raise asyncio.CancelledError


@pytest.mark.parametrize("dies_at", range(1, 7))
async def test_a_run_that_died_at_any_file_is_finished_to_the_same_bytes(dies_at: int) -> None:
    world = World(reports=DyingReports(dies_at))
    await world.register("acme", tags={"team": "blue"})
    await spend(world, "acme", "2026-11")
    world.clock.moment = LATER
    with pytest.raises(asyncio.CancelledError):
        await world.export()
    untouched = World(world.clock, world.rows)
    await untouched.register("acme", tags={"team": "blue"})
    heir = World(world.clock, world.rows)
    heir.reports._files.update(world.reports._files)
    await heir.tenants.insert(Tenant(tenant_id="acme", name="renamed between the two runs", created_at=NOW), told())
    for run in (untouched, heir):
        await run.export()
        assert set(files_of(run.reports)) == {f"2026-11/{name}" for name in FILES}
    if world.reports._files:
        assert files_of(heir.reports) == files_of(untouched.reports)


async def test_two_runs_that_read_other_names_of_a_tenant_write_the_files_of_one() -> None:
    world = World()
    await spend(world, "acme", "2026-11")
    world.clock.moment = LATER
    runs = [World(world.clock, world.rows, world.reports) for _ in range(2)]
    for number, run in enumerate(runs):
        await run.register("acme", tags={"run": str(number)})
    await asyncio.gather(*(run.export() for run in runs))
    (acme,) = (await world.statements())["tenants"]
    content = files_of(world.reports)["2026-11/statements.json"]
    assert acme["tags"] in ({"run": "0"}, {"run": "1"})
    manifest = json.loads(files_of(world.reports)["2026-11/manifest.json"])
    assert manifest["files"][0]["sha256"] == hashlib.sha256(content).hexdigest()


async def test_a_lane_that_is_opened_after_the_export_is_closed_and_named(world: World) -> None:
    await world.export()
    before = files_of(world.reports)
    await world.ledger.open(account("late", period="2026-08"))
    assert await world.export() == {}
    assert await world.state("late", "2026-08") is LaneState.CLOSED
    await spend(world, "frozen", "2026-06")
    with pytest.raises(SweepFailed, match=r"2026-06: LanesNotExported: .*2026-06\|frozen\|00"):
        await world.export()
    assert files_of(world.reports) == before


async def test_a_name_in_the_registry_that_is_no_period_stops_no_export(world: World) -> None:
    await world.rows.submit("registry", "2026-13", [Insert("acme|00", {})], "spoiled")
    with pytest.raises(SweepFailed, match=r"1 failed. the list: RowsDamaged: .*2026-13"):
        await world.export()
    assert set(files_of(world.reports)) == {f"{month}/{name}" for month in MONTHS for name in FILES}


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzuriteAccount]:
    """An Azurite for this module alone, because timers read every tenant that there is."""
    with running_azurite(tmp_path_factory.mktemp("azurite")) as account:
        yield account


async def test_real_processes_that_are_killed_while_they_close_a_month_write_the_same_bytes(
    stack_on_tables: Stack, azurite: AzuriteAccount, tmp_path: Path
) -> None:
    stack, gateway = stack_on_tables, await stack_on_tables.gateway()
    month = BillingPeriod.containing(gateway.clock.now())
    for number in range(8):
        stack.key = await stack.register(f"{stack.tenant}-{number}")
        await stack.chat()
    reports: Any = gateway.billing.export_chargeback._build._reports
    lanes = [lane async for lane in gateway.ledger.books.lanes(str(month))]

    async def one_lane_is_closed() -> bool:
        balances = [await gateway.ledger.books.balance(lane) for lane in lanes]
        return any(balance is not None and balance.state is LaneState.CLOSED for balance in balances)

    async def one_file_is_written() -> bool:
        return await reports.read(f"{month}/{FILES[0]}") is not None

    async def all_files_are_written() -> bool:
        return await reports.read(f"{month}/{FILES[-1]}") is not None

    ahead = (month.end + timedelta(days=40) - gateway.clock.now()).total_seconds()
    for condition in (one_lane_is_closed, one_file_is_written):
        async with later_hosts(azurite, tmp_path, 1, ahead_seconds=ahead) as (host,):
            await host.start_timer("export_chargeback")
            await until(condition)
    seen = await reports.read(f"{month}/{FILES[0]}")
    async with later_hosts(azurite, tmp_path, 2, ahead_seconds=ahead) as hosts:
        await asyncio.gather(*(host.start_timer("export_chargeback") for host in hosts))
        await until(all_files_are_written)
        answers = [await host.manage("POST", f"/manage/chargeback/{month}/export") for host in hosts]
    assert await reports.read(f"{month}/{FILES[0]}") == seen
    assert await gateway.billing.verify_statements(str(month)) == []
    contents = [await reports.read(f"{month}/{name}") or b"" for name in FILES]
    written = [
        {"name": file.name, "sha256": file.sha256, "size_bytes": file.size_bytes}
        for file in map(StatementFile.of, FILES, contents)
    ]
    assert answers == [(200, {"period": str(month), "files": written})] * 2


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for what other processes do in storage, of which no event tells."""
    async with asyncio.timeout(60):
        while not await condition():  # noqa: ASYNC110 - there is no event to await
            await asyncio.sleep(0.01)


async def test_a_run_that_cannot_list_the_months_fails(world: World) -> None:
    unreachable = World(world.clock, FaultyStore(world.rows, is_down=True))
    with pytest.raises(SweepFailed, match=r"1 failed. the list: LedgerUnavailable"):
        await unreachable.export()


async def test_months_that_a_slice_does_not_reach_are_left_to_the_next_run(world: World) -> None:
    slow = world.reports.write_once

    async def write_slowly(path: str, content: bytes) -> None:
        await world.clock.sleep(50)
        await slow(path, content)

    world.reports.write_once = write_slowly  # type: ignore[method-assign]
    assert [str(period) for period in await world.export()] == ["2026-06"]
    assert [str(period) for period in await world.export()] == ["2026-08"]
