"""Tenants' documents are compared with the books: again, while a change may be in progress."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from shared.adapters.documents.tenancy import DocumentTenants
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.adapters.in_memory.table_store import InMemoryTableStore
from shared.adapters.tables.books import TableBooks
from shared.adapters.tables.ledger import TableLedger
from shared.application.ledger.verify_tenants import VerifyTenants
from shared.domain.audit.hash_chain import HashChain, KeyRing
from shared.domain.ledger.balance import Account
from shared.domain.tenancy.tenant import Tenant, TenantState
from tests.tools.events import told
from tests.tools.ledgers import NOW, PERIOD, ManualClock

EARLIER = NOW - timedelta(days=90)


@dataclass(slots=True)
class HookedClock(ManualClock):
    """Lets something happen in each pause."""

    hook: Callable[[], Awaitable[object]] | None = None

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        if self.hook is not None:
            await self.hook()


@dataclass(slots=True)
class World:
    rows: InMemoryTableStore = field(default_factory=InMemoryTableStore)
    clock: HookedClock = field(default_factory=HookedClock)
    tenants: DocumentTenants = field(default_factory=lambda: DocumentTenants(InMemoryDocuments()))

    async def register(self, tenant_id: str, quota: int | None = 100, created: datetime = EARLIER) -> Tenant:
        tenant = Tenant(tenant_id=tenant_id, name=tenant_id, created_at=created, monthly_quota_tokens=quota)
        return (await self.tenants.insert(tenant, told())).value

    async def open(self, tenant: Tenant) -> None:
        ledger = TableLedger(self.rows, HashChain(KeyRing(keys={"0": b"test"})), self.clock)
        await ledger.open(Account(tenant_id=tenant.tenant_id, period=PERIOD, limit=tenant.limit))

    async def findings(self, period: str = PERIOD, only: str | None = None) -> list[tuple[str, str]]:
        verified = await VerifyTenants(self.tenants, TableBooks(self.rows), self.clock)(period, only)
        return [(each.invariant, each.tenant_id) for each in verified.findings]

    async def unchecked(self, period: str = PERIOD) -> list[str]:
        verified = await VerifyTenants(self.tenants, TableBooks(self.rows), self.clock)(period)
        return [each.invariant for each in verified.not_checked]


async def test_a_changed_limit_that_reaches_the_balance_meanwhile_is_no_violation() -> None:
    world = World()
    tenant = await world.register("acme")
    await world.open(replace(tenant, monthly_quota_tokens=7))
    assert await world.findings() == [("I17", "acme")]
    world.clock.hook = lambda: world.tenants.replace(replace(tenant, monthly_quota_tokens=7), "*", told())
    assert await world.findings() == []


async def test_a_tenant_that_is_removed_meanwhile_is_compared_as_it_was() -> None:
    world = World()
    await world.open(replace(await world.register("acme"), monthly_quota_tokens=7))
    world.clock.hook = lambda: world.tenants._documents.remove("tenants", "acme", "tenant")
    assert await world.findings() == [("I17", "acme")]


async def test_the_limit_of_a_period_that_is_over_is_not_checked() -> None:
    world = World()
    await world.open(replace(await world.register("acme"), monthly_quota_tokens=7))
    world.clock.moment = NOW + timedelta(days=30)
    assert await world.findings() == []
    assert await world.unchecked() == ["I17"]


async def test_a_tenant_without_books_is_a_violation_if_the_month_began_after_its_registration() -> None:
    world = World()
    await world.register("before")
    await world.register("since", created=NOW - timedelta(days=1))
    closed = await world.register("closed")
    await world.tenants.replace(replace(closed, state=TenantState.CLOSED), "*", told())
    assert await world.findings() == [("I16", "before")]
    assert await world.unchecked() == ["I16"]
    assert await world.findings(period="2026-12") == []


async def test_one_tenant_is_compared_alone() -> None:
    world = World()
    await world.register("acme")
    await world.register("bolt")
    assert await world.findings(only="acme") == [("I16", "acme")]
    assert await world.findings(only="nobody") == []


async def test_many_tenants_are_read_page_by_page() -> None:
    world = World()
    for number in range(501):
        await world.register(f"t-{number:03}")
    assert len(await world.findings()) == 501


async def test_an_account_without_documents_is_not_compared() -> None:
    world = World()
    tenant = Tenant(tenant_id="acme", name="Acme", created_at=EARLIER)
    await world.open(tenant)
    assert await world.findings() == []
    assert await world.findings(only="acme") == []
    assert await world.unchecked() == ["I16", "I17"]


async def test_the_timers_books_agree_with_the_documents() -> None:
    world = World()
    for name, quota in (("acme", 100), ("free", None)):
        await world.open(await world.register(name, quota))
    assert await world.findings() == []
    assert await world.unchecked() == []
