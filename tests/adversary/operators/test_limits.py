"""A limit in the document and in the books is one fact, whoever dies, freezes or has cached the tenant in between."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from shared import timers
from shared.adapters.documents.tenancy import DocumentTenants
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.adapters.in_memory.table_store import InMemoryTableStore
from shared.adapters.tables.ledger import TableLedger
from shared.application.sweep import SweepFailed
from shared.application.tenancy.apply_limit import ApplyLimit
from shared.application.tenancy.reconcile_limits import ReconcileLimits
from shared.domain.audit.hash_chain import HashChain, KeyRing
from shared.domain.errors import QuotaExceeded
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.ledger.balance import Account, Lane
from shared.domain.ledger.entries import EntryKind
from shared.domain.tenancy.tenant import Tenant
from tests.tools.events import told
from tests.tools.fault_proxy import FaultProxy
from tests.tools.later_hosts import later_hosts
from tests.tools.ledgers import NOW, PERIOD, ManualClock, account, reservation, sweep_by
from tests.tools.stack import AzuriteAccount, Stack, running_azurite

NEXT = "2026-12"


class Process:
    """One gateway over storage that it shares with others."""

    def __init__(self, rows: InMemoryTableStore, documents: InMemoryDocuments) -> None:
        self.clock = ManualClock()
        self.ledger = TableLedger(rows, HashChain(KeyRing(keys={"0": b"test"})), self.clock)
        self.tenants = DocumentTenants(documents)
        self.apply = ApplyLimit(self.tenants, self.ledger, self.clock)
        self.reconcile = ReconcileLimits(self.tenants, self.apply, self.clock, sweep_by(self.clock))

    async def store(self, tokens: int | None, **fields: Any) -> None:
        """Store the quota in the document, and no more: the process dies or freezes here."""
        found = await self.tenants.get("acme")
        assert found is not None
        await self.tenants.replace(replace(found.value, monthly_quota_tokens=tokens, **fields), "*", told())

    async def change(self, tokens: int | None) -> None:
        await self.store(tokens)
        await self.apply("acme", "ann", "changed", opens=True)

    async def limits(self, *periods: str) -> list[int | None]:
        """Return the vault's quota in each period; -1 where it is not open."""
        balances = [await self.ledger.balance(Lane("acme", period)) for period in periods]
        return [balance.limit.tokens if balance else -1 for balance in balances]

    async def limit_entries(self, lane: int = 0, period: str = PERIOD) -> list[tuple[int | None, str]]:
        entries = [entry async for entry in self.ledger.entries(Lane("acme", period, lane), 1, 99)]
        return [(entry.limit.tokens, entry.actor) for entry in entries if entry.limit]


@pytest.fixture
async def fleet() -> list[Process]:
    """Yield three processes and a tenant with a quota of a million, which no process has opened."""
    rows, documents = InMemoryTableStore(), InMemoryDocuments()
    processes = [Process(rows, documents) for _ in range(3)]
    await processes[0].tenants.insert(
        Tenant(tenant_id="acme", name="acme", created_at=NOW, monthly_quota_tokens=10**6), told()
    )
    return processes


@pytest.mark.parametrize("period", [PERIOD, NEXT])
async def test_a_process_that_has_cached_the_tenant_opens_no_month_under_the_old_limit(
    fleet: list[Process], period: str
) -> None:
    await fleet[0].change(20)
    cached = account(tokens=10**6, period=period)
    with pytest.raises(QuotaExceeded):
        await fleet[1].ledger.reserve(cached, reservation(period=period))
    assert await fleet[1].limits(PERIOD, NEXT) == [20, 20]


@pytest.mark.parametrize("tokens", [100, 0, None])
async def test_a_change_whose_process_died_is_finished_once(fleet: list[Process], tokens: int | None) -> None:
    for period in (PERIOD, NEXT):
        await fleet[0].ledger.open(account(tokens=10**6, period=period))
    await fleet[0].store(tokens)
    assert sum(await asyncio.gather(*(process.reconcile() for process in fleet))) >= 2
    assert await fleet[0].limits(PERIOD, NEXT) == [tokens, tokens]
    for period in (PERIOD, NEXT):
        assert await fleet[0].limit_entries(period=period) == [(tokens, "tallygate")]
    assert await fleet[0].reconcile() == 0


async def test_a_change_that_was_frozen_before_it_was_applied_does_not_undo_a_later_one(fleet: list[Process]) -> None:
    for period in (PERIOD, NEXT):
        await fleet[0].ledger.open(account(tokens=10**6, period=period))
    frozen, other, _ = fleet
    is_frozen, may_go_on = asyncio.Event(), asyncio.Event()
    change_limit = frozen.ledger.change_limit

    async def freeze(account: Account, actor: str, reason: str) -> Any:
        is_frozen.set()
        await may_go_on.wait()
        return await change_limit(account, actor, reason)

    frozen.ledger.change_limit = freeze  # type: ignore[method-assign]
    changing = asyncio.create_task(frozen.change(50_000))
    await is_frozen.wait()
    await other.change(200)
    may_go_on.set()
    await changing
    assert await other.limits(PERIOD, NEXT) == [200, 200]
    assert await other.reconcile() == 0


async def test_grants_stay_on_top_of_a_corrected_limit(fleet: list[Process]) -> None:
    await fleet[0].ledger.open(account(tokens=10**6))
    await fleet[0].ledger.grant(account(), "g", Amount(7), "ann", "more")
    await fleet[0].store(100)
    await fleet[1].reconcile()
    assert await fleet[0].limits(PERIOD) == [107]
    assert await fleet[1].reconcile() == 0


@pytest.mark.parametrize("tokens", [500, 0, None])
async def test_all_lanes_of_a_hot_tenant_follow(fleet: list[Process], tokens: int | None) -> None:
    hot = Account(tenant_id="acme", period=PERIOD, limit=Limit(10**6), lanes=3)
    for process in fleet:
        await process.ledger.reserve(hot, reservation())
    await fleet[0].store(tokens, lanes=3)
    assert await fleet[1].reconcile() == 1
    balances = await fleet[1].ledger.balances("acme", PERIOD)
    assert len(balances) == 4
    own = None if tokens is None else 0
    assert [balance.limit.tokens for balance in balances.values()] == [tokens, own, own, own]


async def test_a_damaged_tenant_keeps_no_other_limit_from_being_corrected(fleet: list[Process]) -> None:
    await fleet[0].ledger.open(account(tokens=10**6))
    for tenant in ("aaa", "zzz"):
        await fleet[0].tenants.insert(Tenant(tenant_id=tenant, name="", created_at=NOW, monthly_quota_tokens=5), told())
        await fleet[0].ledger.open(account(tenant, tokens=6))
    store: Any = fleet[0].ledger._store
    row = await store.get("ledger202611", "aaa|00", "B")
    store._tables["ledger202611"]["aaa|00"]["B"] = replace(row, fields={**row.fields, "state": "BROKEN"})
    await fleet[0].store(100)
    with pytest.raises(SweepFailed, match=r"1 failed. aaa: RowsDamaged"):
        await fleet[1].reconcile()
    assert await fleet[1].limits(PERIOD) == [100]
    balance = await fleet[1].ledger.balance(Lane("zzz", PERIOD))
    assert balance is not None
    assert balance.limit == Limit(5)


async def test_the_timer_corrects_limits(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    await stack.chat()
    tenants = (await stack.gateway()).tenancy.tenants
    found = await tenants.get(stack.tenant)
    await tenants._tenants.replace(replace(found.value, monthly_quota_tokens=100), "*", told())
    await timers.reconcile_limits(past_due=False)
    assert (await stack.usage())["quota_tokens"] == 100
    assert '"gateway.timer.count.limits_corrected": 1' in caplog.text
    await timers.reconcile_limits(past_due=False)
    assert [entry["kind"] for entry in await stack.entries()] == ["charge", EntryKind.LIMIT]


@pytest.fixture(scope="module")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzuriteAccount]:
    """An Azurite for this module alone, because timers read every tenant that there is."""
    with running_azurite(tmp_path_factory.mktemp("azurite")) as account:
        yield account


class Gate(FaultProxy):
    """A proxy before the table service that holds transactions of the ledger until it is opened."""

    def __init__(self, azurite: AzuriteAccount) -> None:
        super().__init__(azurite.table_endpoint.rpartition("/")[0], 0, 0)
        self.is_held = asyncio.Event()
        self.is_open = asyncio.Event()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        is_commit = request.path.endswith("$batch") and b"/ledger" in await request.read()
        if is_commit and not self.is_open.is_set():
            self.is_held.set()
            await self.is_open.wait()
        return await super()._handle(request)


async def test_a_real_process_that_is_frozen_between_both_steps_does_not_undo_a_later_change(
    stack_on_tables: Stack, azurite: AzuriteAccount, tmp_path: Path
) -> None:
    stack = stack_on_tables
    await stack.chat()
    period = str(BillingPeriod.containing((await stack.gateway()).clock.now()))
    path = f"/manage/tenants/{stack.tenant}"
    held = Gate(azurite)
    async with held:
        endpoint = f"{held.url}/{azurite.table_endpoint.rpartition('/')[2]}"
        async with (
            later_hosts(azurite, tmp_path / "frozen", 1, TALLYGATE_TABLE_ENDPOINT=endpoint) as (frozen,),
            later_hosts(azurite, tmp_path / "other", 1) as (other,),
        ):
            changing = asyncio.create_task(frozen.manage("PATCH", path, {"monthly_quota_tokens": 50_000}))
            holding = asyncio.create_task(held.is_held.wait())
            await asyncio.wait([changing, holding], return_when=asyncio.FIRST_COMPLETED)
            assert not changing.done()  # the document says 50,000, and the books do not yet
            frozen.freeze()
            assert (await other.manage("PATCH", path, {"monthly_quota_tokens": 200}))[0] == 200
            assert (await other.manage("GET", f"{path}/usage"))[1]["quota_tokens"] == 200
            frozen.thaw()
            held.is_open.set()
            await changing
            await other.start_timer("reconcile_limits")
            await timers.reconcile_limits(past_due=False)
    gateway = await stack.gateway()
    document = (await gateway.tenancy.tenants.get(stack.tenant)).value
    balance = await gateway.ledger.books.balance(Lane(stack.tenant, period))
    assert balance is not None
    assert balance.limit == document.limit == Limit(200)
