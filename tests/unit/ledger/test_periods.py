"""The use cases that open, expire, close and export months, over memory and a manual clock."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.adapters.documents.alerts import DocumentAlerts
from shared.adapters.documents.audit import DocumentOutbox
from shared.adapters.documents.tenancy import DocumentTenants
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.adapters.in_memory.reports import InMemoryReports
from shared.adapters.in_memory.table_store import InMemoryTableStore
from shared.adapters.statements.all_renderers import RENDERERS
from shared.adapters.statements.json_manifest import JsonManifest
from shared.adapters.statements.json_statements import JsonStatements
from shared.adapters.tables.books import TableBooks
from shared.adapters.tables.ledger import TableLedger
from shared.adapters.tables.store import Delete, Insert, InspectableStore, Merge
from shared.application.alerts.raise_once import RaiseOnce
from shared.application.alerts.store_alert import StoreAlert
from shared.application.audit.record_audit import RecordAudit
from shared.application.billing.build_statement import BuildStatement, PeriodStillOpen
from shared.application.billing.export_chargeback import ExportChargeback
from shared.application.cached_value import Cached
from shared.application.ledger.close_period import ClosePeriod, PeriodNotOver
from shared.application.ledger.expire_reservations import ExpireReservations
from shared.application.ledger.open_period import OpenPeriod
from shared.application.ledger.verify_ledger import VerifyLedger
from shared.application.sweep import SweepFailed, Swept
from shared.domain.audit.hash_chain import HashChain, KeyRing
from shared.domain.billing.manifest import StatementFile
from shared.domain.errors import AlreadyExists
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.ledger.balance import Lane, LaneState
from shared.domain.ledger.entries import ExpiryPolicy
from shared.domain.pricing.price_book import PriceBook
from shared.domain.pricing.usage import Usage
from shared.domain.tenancy.tenant import Tenant, TenantState
from tests.tools.events import told
from tests.tools.ledgers import (
    NOW,
    PRICES,
    PUSD,
    ManualClock,
    PriceRows,
    account,
    attempt,
    charge,
    reservation,
    rows_of,
    sweep_by,
)

CHAIN = HashChain(KeyRing(keys={"0": b"test"}))
CLOSING_TIME = datetime(2026, 12, 3, 2, tzinfo=UTC)


@dataclass
class World:
    """The use cases of the ledger and of billing over one store and one clock."""

    clock: ManualClock = field(default_factory=ManualClock)
    rows: InspectableStore = field(default_factory=InMemoryTableStore)
    reports: InMemoryReports = field(default_factory=InMemoryReports)

    def __post_init__(self) -> None:
        self.tenants = DocumentTenants(InMemoryDocuments())
        self.ledger = TableLedger(self.rows, CHAIN, self.clock)
        prices = Cached(self._prices, self.clock)
        sweep = sweep_by(self.clock)
        self.expire = ExpireReservations(self.tenants, self.ledger, prices, self.clock, sweep)
        self.close = ClosePeriod(self.ledger, self.expire, self.clock, timedelta(hours=48), sweep)
        audit = RecordAudit(DocumentOutbox(InMemoryDocuments()), self.clock)
        self.build = BuildStatement(
            self.ledger, self.tenants, PriceRows(), self.reports, JsonStatements(), RENDERERS, JsonManifest(), audit
        )
        self.alerts = DocumentAlerts(InMemoryDocuments())
        once = RaiseOnce(StoreAlert(self.alerts), self.alerts)
        self.export = ExportChargeback(self.ledger, self.close, self.build, once, self.clock, 120)
        self.open = OpenPeriod(self.tenants, self.ledger, self.clock, sweep)

    async def _prices(self) -> PriceBook:
        return PriceBook(PRICES)

    async def register(self, tenant_id: str, **fields: Any) -> None:
        await self.tenants.insert(
            Tenant(tenant_id=tenant_id, name=f"={tenant_id}", created_at=NOW, cost_center="CC-1", **fields), told()
        )

    async def findings(self, period: str = "2026-11") -> dict[str, list[str]]:
        verify = VerifyLedger(TableBooks(self.rows), PriceRows(), CHAIN)
        return {name: [f"{each.invariant} {each.message}" for each in found] async for name, found in verify(period)}

    async def statements(self, period: str = "2026-11") -> dict[str, Any]:
        document: dict[str, Any] = json.loads(await self.reports.read(f"{period}/statements.json") or b"")
        return document

    async def state(self, tenant: str, period: str) -> LaneState | None:
        balance = await self.ledger.balance(Lane(tenant, period))
        return balance.state if balance else None


@pytest.fixture
def world() -> World:
    return World()


async def test_a_period_is_opened_for_every_tenant_that_is_not_closed(world: World) -> None:
    await world.register("acme", monthly_quota_tokens=7, monthly_budget_usd="1")
    await world.register("gone", state=TenantState.CLOSED)
    assert await world.open() == 1
    balance = await world.ledger.balance(Lane("acme", "2026-11"))
    assert balance is not None
    assert balance.limit == Limit(7, 10**12)
    assert await world.state("gone", "2026-11") is None
    assert await world.state("acme", "2026-12") is None


async def test_from_the_25th_the_next_period_is_opened_too(world: World) -> None:
    open_in_pages = OpenPeriod(world.tenants, world.ledger, world.clock, sweep_by(world.clock), page_size=2)
    for tenant in "abcde":
        await world.register(tenant)
    world.clock.moment = datetime(2026, 11, 25, tzinfo=UTC)
    assert await open_in_pages() == await open_in_pages() == 5
    assert [await world.state(tenant, "2026-12") for tenant in "abcde"] == [LaneState.OPEN] * 5


async def test_a_new_month_starts_closing_the_one_before(world: World) -> None:
    await world.register("acme")
    await world.open()
    world.clock.moment = datetime(2026, 12, 1, tzinfo=UTC)
    await world.open()
    assert await world.state("acme", "2026-11") is LaneState.CLOSING
    assert await world.state("acme", "2026-12") is LaneState.OPEN


@pytest.mark.parametrize(
    ("policy", "charged"),
    [
        (ExpiryPolicy.INPUT, Amount(10, 10 * PUSD["input"])),
        (ExpiryPolicy.FULL, Amount(30, 10 * PUSD["input"] + 20 * PUSD["output"])),
        (ExpiryPolicy.NONE, Amount()),
    ],
)
async def test_a_reservation_past_its_deadline_expires_by_policy(
    world: World, policy: ExpiryPolicy, charged: Amount
) -> None:
    await world.register("acme", expiry_policy=policy)
    await world.ledger.reserve(account(), reservation())
    alive = reservation(minutes=60)
    await world.ledger.reserve(account(), alive)
    assert await world.expire() == 0
    world.clock.seconds = 600
    assert await world.expire() == 1
    balance = await world.ledger.balance(Lane("acme", "2026-11"))
    assert balance is not None
    assert (balance.used, balance.reserved) == (charged, alive.amount)
    assert await world.findings() == {"acme": []}


async def test_reservations_of_a_tenant_that_is_not_registered_expire_too(world: World) -> None:
    await world.ledger.reserve(account("ghost"), reservation("ghost"))
    world.clock.seconds = 600
    assert await world.expire() == 1


async def test_a_reservation_without_prices_keeps_no_other_from_expiring(world: World) -> None:
    lost = replace(reservation(), attempt=attempt(price_version="0000000000"))
    for held in (lost, reservation(), reservation("zebra")):
        await world.ledger.reserve(account(held.lane.tenant_id), held)
    world.clock.seconds = 600
    with pytest.raises(SweepFailed, match=f"{lost.rid}: UnpricedModel"):
        await world.expire()
    open_now = [held async for lane in world.ledger.lanes("2026-11") async for held in world.ledger.reservations(lane)]
    assert open_now == [lost]


async def test_held_units_expire_by_policy(world: World) -> None:
    units = Usage(images=2, speech_characters=3, audio_seconds=4)
    for number, policy in enumerate(ExpiryPolicy):
        await world.register(f"t{number}", expiry_policy=policy)
        await world.ledger.reserve(account(f"t{number}"), replace(reservation(f"t{number}"), units=units))
    world.clock.seconds = 600
    assert await world.expire() == 3
    charged = {}
    for number, policy in enumerate(ExpiryPolicy):
        (entry,) = [
            each async for each in world.ledger.entries(Lane(f"t{number}", "2026-11"), 1, 9) if each.outcome is not None
        ]
        assert entry.outcome is not None
        charged[policy] = entry.outcome.usage
    assert charged == {
        ExpiryPolicy.NONE: Usage(),
        ExpiryPolicy.INPUT: replace(units, input=10, images=0),
        ExpiryPolicy.FULL: replace(units, input=10, output=20),
    }


async def test_a_period_is_closed_after_its_grace_and_never_before(world: World) -> None:
    await world.register("acme")
    await world.ledger.reserve(account(), reservation())
    november = BillingPeriod.parse("2026-11")
    world.clock.moment = november.end + timedelta(hours=47)
    with pytest.raises(PeriodNotOver, match="2026-12-03 00:00"):
        await world.close(november)
    world.clock.moment = november.end + timedelta(hours=48)
    assert await world.close(november) == await world.close(november) == Swept(1, is_complete=True)
    assert await world.state("acme", "2026-11") is LaneState.CLOSED
    assert await world.findings() == {"acme": []}


async def test_statements_are_written_once_and_a_rerun_changes_no_byte(world: World) -> None:
    await world.register("acme", tags={"team": "blue"}, monthly_quota_tokens=1000, monthly_budget_usd="5")
    await world.register("idle")
    for tenant in ("acme", "idle"):
        await world.ledger.open(account(tenant))
    for _ in range(3):
        held = reservation()
        await world.ledger.reserve(account(), held)
        await world.ledger.settle(held, charge())
    world.clock.moment = CLOSING_TIME
    exported = await world.export()
    written = exported[BillingPeriod.parse("2026-11")]
    assert [file.name for file in written] == ["statements.json", "statements.csv", "manifest.json"]
    files = {file.name: await world.reports.read(f"2026-11/{file.name}") for file in written}
    assert written == tuple(StatementFile.of(name, content or b"") for name, content in files.items())
    found = await world.tenants.get("acme")
    assert found is not None
    await world.tenants.replace(replace(found.value, name="Renamed"), "*", told())
    world.clock.seconds += 86_400
    assert await world.export() == {}
    assert await world.export.period(BillingPeriod.parse("2026-11")) == written
    assert {file.name: await world.reports.read(f"2026-11/{file.name}") for file in written} == files

    statements = json.loads(files["statements.json"] or b"")
    acme, idle = statements["tenants"]
    assert (statements["status"], statements["period"], statements["currency"]) == ("final", "2026-11", "USD")
    assert (acme["tokens_used"], acme["requests"], acme["total_cost_usd"], idle["tokens_used"]) == (51, 3, "0.00", 0)
    assert acme["exact_cost_usd"] == "0.00033"
    assert (acme["utilization_percent"], acme["budget_usd"]) == (5.1, "9000000.00") or acme["budget_usd"] is None
    assert sum(line["quantity"] for line in acme["lines"]) == 51
    manifest = json.loads(files["manifest.json"] or b"")
    assert manifest["total_tokens"] == 51
    assert {each["name"]: each["sha256"] for each in manifest["files"]} == {
        file.name: file.sha256 for file in written if file.name != "manifest.json"
    }
    csv = (files["statements.csv"] or b"").decode().splitlines()
    assert csv[1].startswith("2026-11,acme,'=acme,CC-1,gpt-4o,gpt-4o,input,24,0.00,0.00006")


async def test_an_open_period_has_no_final_statement(world: World) -> None:
    await world.ledger.open(account())
    with pytest.raises(PeriodStillOpen):
        await world.build("2026-11")
    await world.rows.create_table("registry")
    await world.rows.submit("registry", "2026-10", [Insert("half|00", {})], "open")
    with pytest.raises(PeriodStillOpen):
        await world.build("2026-10")


async def test_a_lane_that_was_registered_but_never_opened_is_closed_empty(world: World) -> None:
    await world.rows.create_table("registry")
    await world.rows.submit("registry", "2026-11", [Insert("half|00", {})], "open")
    world.clock.moment = CLOSING_TIME
    await world.export()
    assert await world.state("half", "2026-11") is LaneState.CLOSED


async def test_the_statement_of_a_removed_tenant_follows_from_its_entries(world: World) -> None:
    held = reservation("ghost")
    await world.ledger.reserve(account("ghost"), held)
    await world.ledger.settle(held, charge())
    world.clock.moment = CLOSING_TIME
    await world.export()
    (ghost,) = (await world.statements())["tenants"]
    assert (ghost["tenant_name"], ghost["cost_center"]) == ("ghost", "CC-1")


async def test_a_report_is_never_overwritten() -> None:
    reports = InMemoryReports()
    await reports.write_once("a", b"1")
    await reports.write_once("a", b"1")
    with pytest.raises(AlreadyExists):
        await reports.write_once("a", b"2")
    assert await reports.read("b") is None


async def books_to_spoil() -> World:
    """Write three charges, an expiry with its late entry, and an open reservation."""
    world = World()
    held = [reservation() for _ in range(5)]
    for each in held:
        await world.ledger.reserve(account(), each)
    for each in held[:3]:
        await world.ledger.settle(each, charge())
    world.clock.seconds = 600
    await world.ledger.reserve(account(), reservation(minutes=600))
    await world.expire()
    await world.ledger.settle(held[3], charge())
    assert await world.findings() == {"acme": []}
    return world


@pytest.mark.parametrize(
    ("spoil", "violated"),
    [
        (lambda rows: rows["E|0000000000000002"].update(tokens=1), {"I2", "I3", "I10"}),
        (lambda rows: rows["E|0000000000000002"].update(user="eve"), {"I2"}),
        (lambda rows: rows["E|0000000000000002"].update(price_version="0000000000"), {"I2", "I10"}),
        (lambda rows: rows.pop("E|0000000000000002"), {"I1", "I2", "I3"}),
        (lambda rows: rows.pop("E|0000000000000006"), {"I1", "I2", "I3", "I6", "I7"}),
        (lambda rows: rows["E|0000000000000003"].update(rid=rows["E|0000000000000002"]["rid"]), {"I2", "I5"}),
        (lambda rows: rows["E|0000000000000006"].update(rid="0"), {"I2", "I6"}),
        (lambda rows: rows["B"].update(used_tokens=1), {"I3"}),
        (lambda rows: rows["B"].update(reserved_pusd=1), {"I4"}),
        (lambda rows: rows["B"].update(open_reservations=0), {"I4"}),
        (lambda rows: rows["B"].update(excess_tokens=1), {"I7"}),
        (lambda rows: rows["B"].update(limit_tokens=10, limit0_tokens=10), {"I7"}),
        (lambda rows: rows["B"].update(limit_tokens=10), {"I7", "I8"}),
        (lambda rows: rows["B"].update(state="CLOSED"), {"I9"}),
        (lambda rows: rows["B"].update(head="0"), {"I2"}),
        (
            lambda rows: rows["E|0000000000000003"].update(
                rid=next(key for key in rows if key.startswith("P|")).partition("|")[2]
            ),
            {"I2", "I5"},
        ),
    ],
)
async def test_verification_names_each_violation(spoil: Any, violated: set[str]) -> None:
    world = await books_to_spoil()
    partition = await rows_of(world.rows, "ledger202611", "acme|00")
    rows = {key: dict(row.fields) for key, row in partition.items()}
    spoil(rows)
    changes: list[Any] = [Delete(key) for key in partition if key not in rows]
    changes += [Merge(key, rows[key], row.etag) for key, row in partition.items() if key in rows]
    await world.rows.submit("ledger202611", "acme|00", changes, "spoiled")
    found = (await world.findings())["acme"]
    assert {each.partition(" ")[0] for each in found} == violated


async def test_a_registered_lane_without_a_balance_is_not_a_violation(world: World) -> None:
    await world.rows.create_table("registry")
    await world.rows.submit("registry", "2026-11", [Insert("half|00", {})], "open")
    assert await world.findings() == {"half": []}


async def test_a_period_that_is_closed_is_told_with_its_totals_at_the_next_run() -> None:
    world = World()
    await world.register("acme")
    await world.open()
    world.clock.moment = CLOSING_TIME
    assert [str(period) for period in await world.export()] == ["2026-11"]
    for _ in range(2):
        await world.export()
    ((told_of,), _) = await world.alerts.raised(10)
    assert (told_of.kind, told_of.event_id, told_of.subject) == ("period.closed", "2026-11", "periods/2026-11")
    assert told_of.data == {"period": "2026-11", "tokens": "0", "cost_usd": "0.00", "entries": "1"}


async def test_a_period_that_was_closed_long_ago_is_not_told() -> None:
    world = World()
    await world.register("acme")
    await world.open()
    world.clock.moment = CLOSING_TIME
    await world.export()
    world.clock.moment = CLOSING_TIME + timedelta(days=100)
    await world.export()
    assert (await world.alerts.raised(10))[0] == []
