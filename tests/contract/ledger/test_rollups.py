"""Rollups over memory and over Azurite. Each entry is summed once, and reports read few rows."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

import pytest
from azure.core.credentials import AzureNamedKeyCredential
from azure.data.tables.aio import TableServiceClient

from local.azurite_server import ACCOUNT
from shared.adapters.documents.tenancy import DocumentTenants
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.adapters.in_memory.table_store import InMemoryTableStore
from shared.adapters.tables.books import TableBooks
from shared.adapters.tables.ledger import TableLedger
from shared.adapters.tables.rest_store import RestTableStore, SharedKey
from shared.adapters.tables.rollups import TableRollups, rollup_row_key
from shared.adapters.tables.store import AnswerLost, InspectableStore, Merge, Row
from shared.application.billing.report_usage import ReportUsage
from shared.application.ledger.roll_up_usage import MAX_ROWS, RollUpUsage
from shared.application.ledger.verify_ledger import VerifyLedger
from shared.application.ports.ledger import Watermark
from shared.domain.audit.hash_chain import HashChain, KeyRing
from shared.domain.billing.usage_report import Grouping
from shared.domain.errors import LedgerUnavailable
from shared.domain.ledger.balance import Lane
from shared.domain.ledger.rollup import ROLLUP_KEY, Rollup, RollupKey
from shared.domain.tenancy.tenant import Tenant
from tests.tools.events import told
from tests.tools.ledgers import (
    NOW,
    PERIOD,
    Fault,
    FaultyStore,
    ManualClock,
    PriceRows,
    account,
    attempt,
    charge,
    reservation,
    sweep_by,
)
from tests.tools.stack import AzuriteAccount

CHAIN = HashChain(KeyRing(keys={"0": b"test"}))


class Books:
    """A ledger, its rollups and its reports over one store."""

    def __init__(self, store: InspectableStore, tenant: str) -> None:
        self.tenant = tenant
        self.ledger = TableLedger(store, CHAIN, ManualClock())
        self.rollups = TableRollups(store)
        self.roll_up = RollUpUsage(self.ledger, self.rollups, ManualClock(), sweep_by(ManualClock()))
        self.tenants = DocumentTenants(InMemoryDocuments())
        self.report = ReportUsage(self.ledger, self.rollups, self.tenants, ManualClock())
        self.verify = VerifyLedger(TableBooks(store), PriceRows(), CHAIN)

    async def serve(self, requests: int, users: int = 1) -> None:
        limit = account(self.tenant, tokens=None)

        async def one(number: int) -> None:
            facts = attempt(user=f"user {number % users}/?#")
            held = replace(reservation(self.tenant), attempt=facts)
            await self.ledger.reserve(limit, held)
            await self.ledger.settle(held, charge())

        await asyncio.gather(*(one(number) for number in range(requests)))

    async def summed(self) -> dict[RollupKey, Rollup]:
        return {key: sums async for key, sums in self.rollups.rows(Lane(self.tenant, PERIOD))}

    async def check(self) -> None:
        assert [found async for name, found in self.verify(PERIOD, self.tenant) if found] == []


async def test_each_entry_is_summed_once_by_several_processes(store: InspectableStore, tenant: str) -> None:
    books = Books(store, tenant)
    await books.serve(MAX_ROWS + 30, users=MAX_ROWS + 5)
    added = await asyncio.gather(*(Books(store, tenant).roll_up.lane(Lane(tenant, PERIOD)) for _ in range(3)))
    assert sum(added) == MAX_ROWS + 30
    sums = await books.summed()
    assert len(sums) == MAX_ROWS + 5
    assert sum(each.requests for each in sums.values()) == MAX_ROWS + 30
    await books.serve(3)
    await books.ledger.change_limit(account(tenant, tokens=10**6), "ann", "an entry that is about no request")
    assert await books.roll_up.lane(Lane(tenant, PERIOD)) == 4
    assert await books.roll_up.lane(Lane(tenant, PERIOD)) == 0
    assert (await books.summed())[
        RollupKey(day="2026-11-22", deployment="gpt-4o", user="user 0/?#", model="gpt-4o")
    ].requests == 2 + 3
    await books.check()


async def test_a_period_that_was_never_opened_has_nothing_to_sum(store: InspectableStore, tenant: str) -> None:
    books = Books(store, tenant)
    assert await books.roll_up.lane(Lane(tenant, PERIOD)) == 0
    assert await books.summed() == {}
    assert await books.rollups.watermark(Lane(tenant, PERIOD)) == Watermark(0, "")


async def test_a_watermark_that_has_moved_is_not_overtaken(store: InspectableStore, tenant: str) -> None:
    books = Books(store, tenant)
    key = RollupKey(day="2026-11-22", deployment="d", user="u", model="m")
    assert await books.rollups.advance(Lane(tenant, PERIOD), Watermark(0, ""), 1, {key: Rollup(requests=1)})
    assert not await books.rollups.advance(Lane(tenant, PERIOD), Watermark(0, ""), 1, {key: Rollup(requests=1)})
    mark = await books.rollups.watermark(Lane(tenant, PERIOD))
    assert await books.rollups.advance(Lane(tenant, PERIOD), mark, 2, {key: Rollup(requests=1)})
    assert not await books.rollups.advance(Lane(tenant, PERIOD), mark, 2, {key: Rollup(requests=1)})
    assert await books.summed() == {key: Rollup(requests=2)}


async def test_applications_are_summed_apart_and_keys_as_before(store: InspectableStore, tenant: str) -> None:
    books, lane = Books(store, tenant), Lane(tenant, PERIOD)
    plain = RollupKey(day="2026-11-22", deployment="d", user="u", model="m")
    keys = [plain, *(replace(plain, application=name) for name in ("app-1", "app-2"))]
    for number in range(2):
        mark = await books.rollups.watermark(lane)
        assert await books.rollups.advance(lane, mark, number + 1, dict.fromkeys(keys, Rollup(requests=1)))
    assert await books.summed() == dict.fromkeys(keys, Rollup(requests=2))
    names = b"d\x00u\x00m"
    assert rollup_row_key(plain) == f"R|2026-11-22|{hashlib.sha256(names).hexdigest()}"
    assert "application" not in ROLLUP_KEY.write(plain)


async def test_dropped_rollups_are_built_again(azurite: AzuriteAccount, tenant: str) -> None:
    key, nothing = RollupKey(day="2024-07-01", deployment="d", user="u", model="m"), Watermark(0, "")
    async with (
        aclosing(RestTableStore(azurite.table_endpoint, SharedKey(ACCOUNT, azurite.key))) as store,
        TableServiceClient(
            azurite.table_endpoint, credential=AzureNamedKeyCredential(ACCOUNT, azurite.key)
        ) as administrator,
    ):
        rollups = TableRollups(store)
        assert await rollups.advance(Lane(tenant, "2024-07"), nothing, 1, {key: Rollup(requests=1)})
        await administrator.delete_table("rollup202407")
        assert await rollups.watermark(Lane(tenant, "2024-07")) == nothing
        assert not await rollups.advance(Lane(tenant, "2024-07"), nothing, 1, {key: Rollup(requests=1)})
        assert await rollups.advance(Lane(tenant, "2024-07"), nothing, 1, {key: Rollup(requests=1)})


async def test_a_report_is_the_same_before_during_and_after_a_roll_up(store: InspectableStore, tenant: str) -> None:
    books = Books(store, tenant)
    await books.tenants.insert(Tenant(tenant_id=tenant, name=tenant, created_at=NOW), told())
    await books.serve(6, users=2)
    before = await books.report.usage(tenant, PERIOD, [Grouping.USER, Grouping.DAY])
    await books.roll_up.lane(Lane(tenant, PERIOD))
    assert await books.report.usage(tenant, PERIOD, [Grouping.USER, Grouping.DAY]) == before
    await books.serve(6, users=2)
    await books.ledger.change_limit(account(tenant, tokens=10**6), "ann", "an entry that is about no request")
    after = await books.report.usage(tenant, PERIOD, [Grouping.USER, Grouping.DAY])
    assert (after.total.requests, after.used.tokens) == (12, 2 * before.used.tokens)
    assert [user.sums.requests for user in after.groups[Grouping.USER]] == [6, 6]


async def test_a_report_over_many_entries_takes_a_handful_of_storage_operations(tenant: str) -> None:
    store = CountingStore(InMemoryTableStore())
    books = Books(store, tenant)
    await books.tenants.insert(Tenant(tenant_id=tenant, name=tenant, created_at=NOW), told())
    await books.serve(3000, users=3)
    await books.roll_up.lane(Lane(tenant, PERIOD))
    await books.serve(5)
    store.operations = store.rows = 0
    assert (await books.report.usage(tenant, PERIOD, [Grouping.USER])).total.requests == 3005
    assert store.operations <= 6
    assert store.rows <= 1 + 3 + 5


async def test_a_report_during_an_endless_roll_up_asks_to_retry(tenant: str) -> None:
    class Moving(TableRollups):
        seq = 0

        async def watermark(self, lane: Lane) -> Watermark:
            self.seq += 1
            return Watermark(self.seq, "")

    store = InMemoryTableStore()
    books = Books(store, tenant)
    await books.tenants.insert(Tenant(tenant_id=tenant, name=tenant, created_at=NOW), told())
    await books.serve(1)
    with pytest.raises(LedgerUnavailable, match="Ask again"):
        await ReportUsage(books.ledger, Moving(store), books.tenants, ManualClock()).usage(tenant, PERIOD, [])


async def test_a_lost_answer_raises_an_error_and_the_next_run_continues(tenant: str) -> None:
    faulty = FaultyStore(InMemoryTableStore())
    books = Books(faulty, tenant)
    await books.serve(4)
    faults: tuple[Fault, ...] = ("lost request", "lost response")
    for fault in faults:
        faulty.on_submit = [fault]
        with pytest.raises(LedgerUnavailable):
            await books.roll_up.lane(Lane(tenant, PERIOD))
        await books.serve(1)
        await books.check()
    assert await books.roll_up.lane(Lane(tenant, PERIOD)) == 1
    await books.check()
    faulty.is_down = True
    with pytest.raises(LedgerUnavailable):
        await books.summed()


async def test_a_rollup_that_was_edited_is_named(tenant: str) -> None:
    store = InMemoryTableStore()
    books = Books(store, tenant)
    await books.serve(4)
    await books.roll_up.lane(Lane(tenant, PERIOD))
    (row,) = [row async for row in store.scan("rollup202611", f"{tenant}|00", "R|", "R}")]
    await store.submit("rollup202611", f"{tenant}|00", [Merge(row.key, {"requests": 3}, row.etag)], "spoiled")
    (found,) = [found async for _, found in books.verify(PERIOD)]
    assert [finding.invariant for finding in found] == ["I11"]
    assert [name async for name, _ in books.verify(PERIOD, "somebody-else")] == []


class CountingStore(FaultyStore):
    """Counts operations and the rows that scans return."""

    operations = 0
    rows = 0

    async def get(self, table: str, partition: str, key: str) -> Row | None:
        self.operations += 1
        return await super().get(table, partition, key)

    async def scan(self, table: str, partition: str, first: str, last: str) -> AsyncIterator[Row]:
        self.operations += 1
        async for row in super().scan(table, partition, first, last):
            self.rows += 1
            yield row


async def test_reports_fail_while_storage_cannot_be_reached(tenant: str) -> None:
    faulty = FaultyStore(InMemoryTableStore(), is_down=True)
    with pytest.raises(LedgerUnavailable) as told:
        await Books(faulty, tenant).rollups.watermark(Lane(tenant, PERIOD))
    assert isinstance(told.value.__cause__, AnswerLost)
