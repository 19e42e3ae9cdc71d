"""A grant is booked once, with one event, however its process dies, stalls or repeats it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from shared.adapters.documents.audit import GRANTS_TABLE
from shared.adapters.documents.grants import DocumentGrantRequests
from shared.adapters.documents.store import Document, OutboxRow, Write
from shared.adapters.documents.tenancy import DocumentTenants
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.adapters.in_memory.table_store import InMemoryTableStore
from shared.adapters.tables.ledger import TableLedger
from shared.application.audit.record_audit import Actor
from shared.application.sweep import SweepFailed
from shared.application.tenancy.grant_quota import FinishGrants, GrantQuota
from shared.domain.errors import AlreadyExists, InvalidRequest, LedgerUnavailable, StorageUnavailable
from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.ledger.balance import Lane
from shared.domain.ledger.entries import EntryKind, LedgerEntry
from shared.domain.tenancy.grant import RequestedGrant
from shared.domain.tenancy.tenant import Tenant
from tests.tools.events import told, waiting
from tests.tools.ledgers import NOW, PERIOD, FaultyStore, ManualClock, account
from tests.unit.ledger.test_periods import CHAIN

ANN = Actor(name="ann", role="Gateway.Admin")
REQUEST = RequestedGrant(
    tenant_id="acme", period=PERIOD, grant_id="g", tokens=7, pusd=0, actor="ann", reason="launch", requested_at=NOW
)


@dataclass
class LosingDocuments(InMemoryDocuments):
    """Documents that a test makes unreachable, or changes in the middle of a commit."""

    is_down: bool = False
    before_commit: Callable[[], Awaitable[None]] | None = None

    def __post_init__(self) -> None:
        super().__init__()

    async def commit(self, table: str, partition: str, writes: Any) -> list[str]:
        if self.is_down:
            raise StorageUnavailable
        await self._interfere()
        return await super().commit(table, partition, writes)

    async def remove_version(self, document: Document, table: str, event: OutboxRow) -> None:
        await self._interfere()
        await super().remove_version(document, table, event)

    async def _interfere(self) -> None:
        if self.before_commit is not None:
            hook, self.before_commit = self.before_commit, None
            await hook()


@dataclass
class World:
    """The books, the requests and the events of a tenant, and the processes that share them."""

    clock: ManualClock = field(default_factory=ManualClock)
    documents: LosingDocuments = field(default_factory=LosingDocuments)
    store: InMemoryTableStore = field(default_factory=InMemoryTableStore)

    def __post_init__(self) -> None:
        self.tenants = DocumentTenants(self.documents)
        self.requests = DocumentGrantRequests(self.documents)
        self.books = FaultyStore(self.store)
        self.grant, self.ledger = self.process()

    async def register(self, tokens: int | None = 1000) -> None:
        tenant = Tenant(tenant_id="acme", name="A", created_at=NOW, monthly_quota_tokens=tokens)
        await self.tenants.insert(tenant, told(after=tenant))

    def process(self) -> tuple[GrantQuota, TableLedger]:
        ledger = TableLedger(self.books, CHAIN, self.clock)
        return GrantQuota(self.requests, ledger, self.clock), ledger

    async def timer(self) -> int:
        return await FinishGrants(self.requests, self.tenants, self.process()[0], self.clock)()

    async def entries(self, period: str = PERIOD) -> list[LedgerEntry]:
        balance = await self.ledger.balance(Lane("acme", period))
        last = balance.seq if balance else 0
        return [each async for each in self.ledger.entries(Lane("acme", period), 1, last)]

    async def events(self) -> list[str]:
        return [each["action"] for each in await waiting(self.documents) if each["target"] == "acme"]


async def test_a_grant_has_one_entry_and_one_event_and_leaves_no_request() -> None:
    world = World()
    for _ in range(2):
        assert await world.grant(account(), REQUEST, ANN) == Limit(1007)
    (entry,) = await world.entries()
    assert (entry.kind, entry.actor, entry.reason, entry.reference) == (EntryKind.LIMIT, "ann", "launch", "grant/g")
    (event,) = await waiting(world.documents)
    assert (event["actor"], event["role"], event["reason"], event["after"]) == (
        "ann", "Gateway.Admin", "launch",
        {"period": PERIOD, "grant_id": "g", "tokens": 7, "usd": "0.00", "reason": "launch"},
    )  # fmt: skip
    assert await world.requests.names() == []


async def test_a_grant_that_is_repeated_a_month_later_has_no_second_event() -> None:
    world, ahead = World(), replace(REQUEST, period="2026-12")
    for days in (0, 20):
        world.clock.seconds = days * 86_400
        assert await world.grant(account(period="2026-12"), ahead, ANN) == Limit(1007)
    assert (len(await world.entries("2026-12")), await world.events()) == (1, ["tenant.grant"])


@pytest.mark.parametrize("deaths", [1, 3])
async def test_a_grant_whose_process_dies_before_the_ledger_is_booked_by_the_timer(deaths: int) -> None:
    world = World()
    await world.register()
    world.books.is_down = True
    for _ in range(deaths):
        with pytest.raises(LedgerUnavailable):
            await world.process()[0].book(account(), await world.requests.add(REQUEST, told()), ANN)
        world.clock.seconds += 3600
        with pytest.raises(SweepFailed, match="acme/2026-11"):
            await world.timer()
        found = await world.requests.find(REQUEST.name)
        assert found is not None
        await world.requests.remove(found)
    await world.requests.add(REQUEST, ANN.event(NOW, "tenant.grant", "acme"))
    world.books.is_down = False
    assert [await world.timer(), await world.timer()] == [1, 0]
    (entry,) = await world.entries()
    assert (entry.actor, entry.reference, entry.limit) == ("ann", "grant/g", Limit(1007))
    assert await world.events() == ["tenant.grant"]
    assert await world.requests.names() == []


async def test_a_grant_that_was_booked_before_its_process_died_is_not_booked_again() -> None:
    world = World()
    await world.register()
    await world.requests.add(REQUEST, ANN.event(NOW, "tenant.grant", "acme"))
    await world.ledger.grant(account(), "g", Amount(7), "ann", "launch")
    world.clock.seconds = 121
    assert await world.timer() == 1
    assert (len(await world.entries()), await world.events()) == (1, ["tenant.grant"])


async def test_an_answer_does_not_wait_for_the_removal_of_the_request() -> None:
    world = World()
    await world.register()
    added = await world.requests.add(REQUEST, told())
    world.documents.is_down = True
    assert await world.grant.book(account(), added, ANN) == Limit(1007)
    world.documents.is_down = False
    world.clock.seconds = 121
    assert await world.timer() == 1
    assert len(await world.entries()) == 1


@pytest.mark.parametrize(("seconds", "finished"), [(0, 0), (119, 0), (121, 1), (-121, 1)])
async def test_a_request_in_progress_is_left_to_its_process(seconds: int, finished: int) -> None:
    world = World()
    await world.register()
    await world.requests.add(REQUEST, told())
    world.clock.seconds = seconds
    assert await world.timer() == finished


async def test_a_refusal_that_nobody_foresaw_has_an_event() -> None:
    world = World()
    await world.ledger.open(account(tokens=10**15 - 1))
    with pytest.raises(InvalidRequest, match="maximum"):
        await world.grant(account(), REQUEST, ANN)
    first, second = sorted(await waiting(world.documents), key=lambda each: each["action"])  # both at one moment
    assert [first["action"], second["action"]] == ["tenant.grant", "tenant.grant.refuse"]
    assert second["reason"] == "The grant would raise the limit in tokens above the ledger's maximum."
    assert second["after"] == first["after"]
    assert await world.requests.names() == []


async def test_a_refusal_that_is_foreseen_stores_nothing() -> None:
    world = World()
    with pytest.raises(InvalidRequest, match="no limit in tokens"):
        await world.grant(account(tokens=None), REQUEST, ANN)
    await world.grant(account(), REQUEST, ANN)
    with pytest.raises(AlreadyExists, match="'g' was made with another amount in 2026-11"):
        await world.grant(account(), replace(REQUEST, tokens=8), ANN)
    assert await world.grant(account(tokens=None), REQUEST, ANN) == Limit(1007)  # it was made before
    assert await world.events() == ["tenant.grant"]


async def test_a_grant_whose_process_died_is_refused_once_its_month_is_closed() -> None:
    world = World()
    await world.register()
    await world.ledger.open(account())
    await world.requests.add(REQUEST, ANN.event(NOW, "tenant.grant", "acme"))
    await world.ledger.begin_closing(account())
    await world.ledger.close(account())
    world.clock.seconds = 40 * 86_400
    assert [await world.timer(), await world.timer()] == [1, 0]
    (refusal,) = [each for each in await waiting(world.documents) if each["reason"]]
    assert (refusal["action"], refusal["actor"]) == ("tenant.grant.refuse", "gateway")
    assert [each.kind for each in await world.entries()] == [EntryKind.CLOSE]


async def test_processes_that_grant_at_once_book_it_once_with_one_event() -> None:
    world = World()
    processes = [world.process()[0] for _ in range(6)]
    answers = await asyncio.gather(*(grant(account(), REQUEST, ANN) for grant in processes))
    assert answers == [Limit(1007)] * 6
    assert (len(await world.entries()), await world.events()) == (1, ["tenant.grant"])
    assert await world.requests.names() == []


async def test_of_two_amounts_at_once_one_is_booked_and_its_event_tells_it() -> None:
    world = World()
    processes = [world.process()[0] for _ in range(4)]
    answers = await asyncio.gather(
        *(grant(account(), replace(REQUEST, tokens=7 + number % 2), ANN) for number, grant in enumerate(processes)),
        return_exceptions=True,
    )
    granted = {each for each in answers if isinstance(each, Limit)}
    assert (len(granted), len(await world.entries())) == (1, 1)
    assert {type(each) for each in answers} == {Limit, AlreadyExists}
    (event,) = await waiting(world.documents)
    assert {Limit(1000 + event["after"]["tokens"])} == granted


async def test_a_refused_process_whose_request_was_taken_over_answers_what_became_of_it() -> None:
    world = World()
    await world.ledger.open(account(tokens=10**15 - 1))

    async def another_process() -> None:
        found = await world.requests.find(REQUEST.name)
        assert found is not None
        owned = await world.requests.take_over(found)
        await world.process()[1].change_limit(account(), "ann", "less")
        assert await world.process()[0].book(account(), owned, ANN) == Limit(1007)

    async def after_the_request() -> None:
        world.documents.before_commit = another_process

    world.documents.before_commit = after_the_request
    assert await world.grant(account(), REQUEST, ANN) == Limit(1007)
    assert [each.reference for each in await world.entries()] == ["", "grant/g"]
    assert await world.events() == ["tenant.grant"]


async def test_a_request_that_another_process_stores_meanwhile_is_taken_over() -> None:
    world = World()

    async def another_process() -> None:
        await world.requests.add(REQUEST, ANN.event(NOW, "tenant.grant", "acme"))

    world.documents.before_commit = another_process
    assert await world.grant(account(), REQUEST, ANN) == Limit(1007)
    assert (len(await world.entries()), await world.events()) == (1, ["tenant.grant"])


async def test_two_timers_finish_a_request_once() -> None:
    world = World()
    await world.register()
    await world.requests.add(REQUEST, told())
    world.clock.seconds = 121

    async def another_timer() -> None:
        assert await world.timer() == 1

    world.documents.before_commit = another_timer
    assert await world.timer() == 0
    assert len(await world.entries()) == 1


async def test_a_request_that_is_gone_when_the_timer_comes_to_it_is_finished() -> None:
    world = World()
    await world.register()
    await world.requests.add(REQUEST, told())
    world.clock.seconds = 121
    names = await world.requests.names()

    class Late(DocumentGrantRequests):
        async def names(self) -> Any:
            return names

    assert await world.timer() == 1
    assert await FinishGrants(Late(world.documents), world.tenants, world.grant, world.clock)() == 0


async def test_a_request_that_cannot_be_read_or_has_no_tenant_stops_no_other() -> None:
    world = World()
    await world.register()
    await world.documents.commit(GRANTS_TABLE, "aaa", [Write(key="x", text="{}", etag=None)])
    await world.requests.add(replace(REQUEST, tenant_id="gone"), told())
    await world.requests.add(REQUEST, told())
    world.clock.seconds = timedelta(hours=1).total_seconds()
    with pytest.raises(SweepFailed, match=r"aaa/x.*gone/2026-11\|g"):
        await world.timer()
    assert len(await world.entries()) == 1
