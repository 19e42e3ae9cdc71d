"""Tenants with several lanes get the same reports and bills as those with one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.adapters.documents.pricing import DocumentPrices
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.adapters.in_memory.table_store import InMemoryTableStore
from shared.adapters.tables.archive import PeriodArchive, PeriodMoves
from shared.adapters.tables.books import TableBooks
from shared.adapters.tables.ledger import TableLedger
from shared.adapters.tables.rollups import TableRollups
from shared.adapters.tables.rows import entry_key
from shared.adapters.tables.store import Delete, Insert, InspectedRow, Merge
from shared.application.billing.report_usage import EntryFilter, LaneEntry, ReportUsage
from shared.application.ledger.level_lanes import LevelLanes
from shared.application.ledger.roll_up_usage import RollUpUsage
from shared.application.ledger.verify_promises import VerifyPromises
from shared.domain.billing.usage_report import Grouping
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.ledger.balance import Account, Lane
from shared.domain.ledger.entries import EntryKind, LedgerEntry
from shared.domain.ledger.operations import TransferOut
from tests.tools.ledgers import PERIOD, FaultyStore, account, charge, reservation, rows_of, sweep_by
from tests.unit.ledger.test_periods import CHAIN, CLOSING_TIME, World

HOT = replace(account(tokens=1000), lanes=2)
TABLE = "ledger202611"


async def a_busy_tenant() -> World:
    """Let two processes serve in turn, twice each. The second lane also pulls tokens from the first."""
    world = World()
    await world.register("acme", monthly_quota_tokens=1000, lanes=2)
    for ledger in (world.ledger, TableLedger(world.rows, CHAIN, world.clock)) * 2:
        world.clock.seconds += 1
        hold = await ledger.reserve(HOT, reservation())
        await ledger.settle(hold.reservation, charge())
    await ledger.committer(Lane("acme", PERIOD, 1)).submit(TransferOut("0" * 32, 2, Amount(50)))
    await LevelLanes(world.ledger, world.clock, sweep_by(world.clock))()
    assert await world.findings() == {"acme": []}
    return world


async def rolled_up(world: World) -> TableRollups:
    rollups = TableRollups(world.rows)
    await RollUpUsage(world.ledger, rollups, world.clock, sweep_by(world.clock))()
    return rollups


async def test_a_report_covers_all_lanes(tmp_path: Path) -> None:
    world = await a_busy_tenant()
    for rollups in (TableRollups(InMemoryTableStore()), await rolled_up(world)):
        report = await ReportUsage(world.ledger, rollups, world.tenants, world.clock).usage(
            "acme", PERIOD, [Grouping.USER]
        )
        assert (report.total.requests, report.used.tokens, report.limit.tokens) == (4, 4 * 17, 1000)
        assert [user.sums.tokens for user in report.groups[Grouping.USER]] == [4 * 17]
    assert await world.findings() == {"acme": []}
    archive = PeriodArchive(world.rows, DocumentPrices(InMemoryDocuments()))
    await archive.export(PERIOD, tmp_path / "a.gz")
    restored = World(rows=InMemoryTableStore())
    await PeriodArchive(restored.rows, DocumentPrices(InMemoryDocuments())).restore(tmp_path / "a.gz")
    assert await restored.ledger.balances("acme", PERIOD) == await world.ledger.balances("acme", PERIOD)
    assert await restored.findings() == {"acme": []}


async def test_entries_are_listed_newest_first_over_all_lanes() -> None:
    world = await a_busy_tenant()
    usage = ReportUsage(world.ledger, TableRollups(world.rows), world.tenants, world.clock)
    every = (await usage.entries("acme", PERIOD, EntryFilter(), None, 100)).entries
    times = [each.entry.timestamp for each in every]
    assert times == sorted(times, reverse=True)
    assert {each.lane.number for each in every} == {0, 1, 2}
    paged: list[LaneEntry] = []
    cursor = None
    while True:
        page = await usage.entries("acme", PERIOD, EntryFilter(), cursor, 2)
        paged += page.entries
        cursor = page.next_cursor
        if cursor is None:
            break
        assert len(page.entries) == 2
    assert tuple(paged) == every
    anns = (await usage.entries("acme", PERIOD, EntryFilter(user="ann"), None, 100)).entries
    assert [(each.lane.number, each.entry.kind) for each in anns] == [(2, "charge"), (1, "charge")] * 2


async def test_a_tenant_has_one_bill_over_all_of_its_lanes() -> None:
    world = await a_busy_tenant()
    world.clock.moment = CLOSING_TIME
    await world.export()
    (bill,) = (await world.statements())["tenants"]
    assert (bill["requests"], bill["tokens_used"], bill["quota_tokens"]) == (4, 4 * 17, 1000)
    balances = await world.ledger.balances("acme", PERIOD)
    assert bill["chain_heads"] == {f"{lane.number:02}": balance.head for lane, balance in balances.items()}
    assert len(bill["chain_heads"]) == 3
    assert await world.findings() == {"acme": []}


async def test_closing_a_month_begins_in_every_lane() -> None:
    world = await a_busy_tenant()
    world.clock.moment = BillingPeriod.parse(PERIOD).end + timedelta(minutes=1)
    await world.open()
    assert {balance.state for balance in (await world.ledger.balances("acme", PERIOD)).values()} == {"CLOSING"}


async def spoil(world: World, lane: int, **changes: dict[str, Any] | None) -> None:
    """Change or delete rows of a lane, by key."""
    partition = f"acme|{lane:02}"
    rows = await rows_of(world.rows, TABLE, partition)
    for key, fields in changes.items():
        row = rows[key]
        change = Delete(key) if fields is None else Merge(key, {**row.fields, **fields}, row.etag)
        await world.rows.submit(TABLE, partition, [change], "spoiled")


async def seal(world: World, lane: int) -> None:
    """Chain a lane's entries anew, as an attacker with the key could."""
    partition = f"acme|{lane:02}"
    rows = await rows_of(world.rows, TABLE, partition)
    head = world.ledger.genesis(Lane("acme", PERIOD, lane))
    for key in sorted(key for key in rows if key.startswith("E|")):
        fields = LedgerEntry.from_fields(rows[key].fields).fields()
        head = CHAIN.seal(head, fields)
        await spoil(world, lane, **{key: fields})
    await spoil(world, lane, B={"head": head})


async def transfer_key(world: World, lane: int, kind: EntryKind) -> str:
    found = [entry async for entry in world.ledger.entries(Lane("acme", PERIOD, lane), 1, 99) if entry.kind is kind]
    return entry_key(found[-1].seq)


async def violated(world: World) -> list[str]:
    """Return the violations of I8 without those of the rows `G`, which are compared with the entries."""
    return [each for each in (await world.findings())["acme"] if each.startswith("I8") and "the row of" not in each]


async def test_a_transfer_into_a_lane_without_one_out_of_another_is_found() -> None:
    world = await a_busy_tenant()
    await spoil(world, 2, **{await transfer_key(world, 2, EntryKind.TRANSFER_IN): {"reference": "01/" + "f" * 32}})
    await seal(world, 2)
    (found,) = await violated(world)
    assert found == f"I8 transfer {'f' * 32} came into lane 2 and went out of none"


async def test_a_transfer_whose_sides_differ_is_found() -> None:
    world = await a_busy_tenant()
    key = await transfer_key(world, 2, EntryKind.TRANSFER_IN)
    await spoil(world, 2, **{key: {"moved_tokens": 51}})
    await seal(world, 2)
    differ = f"I8 the two sides of transfer {'0' * 32} differ"
    assert [each[:20] for each in await violated(world)] == ["I8 transfers sum to ", differ[:20]]
    await spoil(world, 2, **{key: {"moved_tokens": 50, "reference": "00/" + "0" * 32}})
    await seal(world, 2)
    assert await violated(world) == [differ]


async def test_a_transfer_that_is_repeated_is_found() -> None:
    world = await a_busy_tenant()
    ledger, lane = world.ledger, Lane("acme", PERIOD, 1)
    for number in (1, 2):
        xid = f"{number:032x}"
        await ledger.committer(lane).submit(TransferOut(xid, 2, Amount(1)))
    key = await transfer_key(world, 1, EntryKind.TRANSFER_OUT)
    await spoil(world, 1, **{key: {"reference": "02/" + "0" * 31 + "1"}})
    await seal(world, 1)
    (found,) = await violated(world)
    assert "of lane 1 repeats transfer 0" in found


async def test_an_incomplete_transfer_of_a_closed_month_is_found() -> None:
    world = await a_busy_tenant()
    await world.ledger.committer(Lane("acme", PERIOD, 1)).submit(TransferOut("e" * 32, 2, Amount(5)))
    assert await violated(world) == []
    for lane in (0, 1, 2):
        await spoil(world, lane, B={"state": "CLOSED"})
    assert await violated(world) == [f"I8 transfer {'e' * 32} went out of lane 1 and never arrived"]


async def test_a_lane_with_a_limit_of_its_own_is_found() -> None:
    world = await a_busy_tenant()
    await spoil(world, 1, B={"limit_tokens": 7, "limit0_tokens": 7})
    assert await violated(world) == ["I8 lane 1 has a limit of its own"]


async def test_a_registered_lane_that_never_opened_is_no_violation() -> None:
    world = await a_busy_tenant()
    await world.rows.submit("registry", PERIOD, [Insert("acme|07", {})], "open")
    assert await world.findings() == {"acme": []}
    world.clock.moment = CLOSING_TIME
    await world.export()
    assert len((await world.statements())["tenants"]) == 1


class MovingStore(FaultyStore):
    """Changes one kind of row at each of the next readings."""

    def __init__(self, world: World, key: str, times: int) -> None:
        super().__init__(world.rows)
        self._key = key
        self._times = times

    async def inspect(self, table: str, partition: str, first: str, end: str = "") -> AsyncIterator[InspectedRow]:
        async for row in super().inspect(table, partition, first, end):
            is_moving = first == self._key and self._times
            self._times -= bool(is_moving)
            yield InspectedRow(row.key, {**row.fields, "moved": self._times}) if is_moving else row


@pytest.mark.parametrize(("key", "named"), [("B", "lanes of acme"), ("W", "rollups of acme")])
async def test_a_lane_that_always_changes_is_not_exported(key: str, named: str, tmp_path: Path) -> None:
    world = await a_busy_tenant()
    await rolled_up(world)
    book = DocumentPrices(InMemoryDocuments())
    with pytest.raises(PeriodMoves, match=named):
        await PeriodArchive(MovingStore(world, key, 10**6), book).export(PERIOD, tmp_path / "a.gz")
    await PeriodArchive(MovingStore(world, key, 3), book).export(PERIOD, tmp_path / "moved.gz")
    await PeriodArchive(world.rows, book).export(PERIOD, tmp_path / "still.gz")
    assert (tmp_path / "moved.gz").read_bytes() == (tmp_path / "still.gz").read_bytes()


class RollingStore(FaultyStore):
    """Rolls up when the rollups of one lane are read for the first time."""

    roll_up: RollUpUsage | None = None
    partition = ""

    async def inspect(self, table: str, partition: str, first: str, end: str = "") -> AsyncIterator[InspectedRow]:
        if table.startswith("rollup") and partition == self.partition and not first and self.roll_up is not None:
            roll_up, self.roll_up = self.roll_up, None
            await roll_up()
        async for row in super().inspect(table, partition, first, end):
            yield row


async def test_verification_reads_rollups_again_that_changed_meanwhile() -> None:
    world = await a_busy_tenant()
    await rolled_up(world)
    store = RollingStore(world.rows)
    world = World(clock=world.clock, rows=store)
    for _ in range(2):
        hold = await world.ledger.reserve(HOT, reservation())
        await world.ledger.settle(hold.reservation, charge())
    store.partition = f"acme|{hold.reservation.lane.number:02}"
    store.roll_up = RollUpUsage(world.ledger, TableRollups(store), world.clock, sweep_by(world.clock))
    assert await world.findings() == {"acme": []}
    assert store.roll_up is None


class MarkedLaterStore(FaultyStore):
    """Lets the watermark of a lane appear at its second reading."""

    readings = 0

    async def inspect(self, table: str, partition: str, first: str, end: str = "") -> AsyncIterator[InspectedRow]:
        if (table, partition, first) == ("rollup202611", "acme|01", "W"):
            self.readings += 1
            if self.readings > 1:
                yield InspectedRow("W", {"seq": 1})
            return
        async for row in super().inspect(table, partition, first, end):
            yield row


async def test_an_entry_that_cannot_be_read_is_in_no_rollup() -> None:
    world = await a_busy_tenant()
    await spoil(world, 1, **{entry_key(1): {"kind": "gift"}})
    found = (await World(clock=world.clock, rows=MarkedLaterStore(world.rows)).findings())["acme"]
    assert "I15 the row cannot be read: 'gift' is not a valid EntryKind" in found


async def test_a_reservation_that_never_ends_is_a_broken_promise() -> None:
    world = await a_busy_tenant()
    hold = await world.ledger.reserve(HOT, reservation(minutes=5))
    promises = VerifyPromises(TableBooks(world.rows), world.clock)
    assert await promises(PERIOD, ()) == []
    world.clock.seconds += 16 * 60
    (found,) = await promises(PERIOD, ())
    assert (found.invariant, found.tenant_id) == ("I14", "acme")
    assert hold.reservation.rid in found.message
    await world.expire()
    assert await promises(PERIOD, ()) == []
    (twice,) = await promises(PERIOD, {"r1"})
    assert twice.message == "request r1 was answered and is booked 5 times"


async def test_levelling_leaves_tenants_with_one_lane_alone() -> None:
    world = World()
    await world.ledger.open(Account(tenant_id="calm", period=PERIOD, limit=Limit(5)))
    assert await LevelLanes(world.ledger, world.clock, sweep_by(world.clock))() == 0
    assert await world.ledger.level_lanes(Account(tenant_id="calm", period=PERIOD, limit=Limit(5))) == 0
