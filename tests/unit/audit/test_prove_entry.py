"""Proofs of entries that cannot be made."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from shared.adapters.documents.tenancy import DocumentTenants
from shared.adapters.in_memory.anchors import InMemoryAnchors
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.adapters.in_memory.table_store import InMemoryTableStore
from shared.adapters.tables.books import TableBooks
from shared.adapters.tables.ledger import TableLedger
from shared.adapters.tables.store import Insert
from shared.application.evidence.export_anchors import ExportAnchors
from shared.application.evidence.prove_entry import EntryNotProvable, NotAnchoredYet, ProveEntry
from shared.domain.audit.anchor_files import ChainHead
from shared.domain.audit.hash_chain import HashChain, KeyRing
from shared.domain.errors import NotFound
from shared.domain.identifiers import rid_at
from shared.domain.ledger.balance import Lane
from shared.domain.tenancy.tenant import Tenant
from tests.tools.anchor_logs import WrittenLog
from tests.tools.earlier_chain import EarlierChain
from tests.tools.events import told
from tests.tools.ledgers import NOW, PERIOD, ManualClock, account, charge, reservation

CHAIN = f"ledger/{PERIOD}/acme|00"


class World:
    """A tenant with one entry, and a log of heads."""

    def __init__(self, chain: HashChain) -> None:
        self.store = InMemoryTableStore()
        self.ledger = TableLedger(self.store, chain, ManualClock())
        self.anchors = InMemoryAnchors()
        self.tenants = DocumentTenants(InMemoryDocuments())
        self.log = WrittenLog()
        self.prove = ProveEntry(TableBooks(self.store), self.anchors, self.tenants)
        self.rid = rid_at(NOW)

    async def serve(self) -> None:
        tenant = Tenant(tenant_id="acme", name="Acme", created_at=NOW, cost_center="CC-1")
        await self.tenants.insert(tenant, told())
        held = replace(reservation(), rid=self.rid)
        await self.ledger.reserve(account(), held)
        await self.ledger.settle(held, charge())

    async def anchor(self) -> None:
        balance = await self.ledger.balance(Lane("acme", PERIOD))
        assert balance is not None
        self.log.write(ChainHead(chain=CHAIN, seq=balance.seq, head=balance.head), at=NOW + timedelta(minutes=5))
        self.anchors.files.update(self.log.files)


@pytest.fixture
async def world() -> World:
    world = World(HashChain(KeyRing(keys={"0": b"k"})))
    await world.serve()
    return world


async def test_an_entry_is_proved_by_several_requests_at_once(world: World) -> None:
    await world.anchor()
    first, second = await asyncio.gather(*(world.prove("acme", PERIOD, world.rid) for _ in range(2)))
    assert (first, len(first.followers)) == (second, 0)


async def test_a_leaf_that_is_not_signed_yet_proves_nothing(world: World) -> None:
    await world.anchor()
    del world.anchors.files["checkpoint/0000000001"]
    with pytest.raises(NotAnchoredYet):
        await world.prove("acme", PERIOD, world.rid)


async def test_heads_that_are_gone_prove_nothing(world: World) -> None:
    await world.anchor()
    del world.anchors.files["heads/0000000000.json"]
    with pytest.raises(NotAnchoredYet):
        await world.prove("acme", PERIOD, world.rid)


async def test_a_lane_that_was_only_registered_has_no_entry(world: World) -> None:
    await world.store.submit("registry", PERIOD, [Insert("acme|01", {})], "x")
    with pytest.raises(NotFound):
        await world.prove("acme", PERIOD, rid_at(NOW - timedelta(days=1)))


async def test_an_entry_with_an_hmac_is_not_provable() -> None:
    world = World(EarlierChain(b"k"))
    await world.serve()
    await world.anchor()
    with pytest.raises(EntryNotProvable, match="HMAC"):
        await world.prove("acme", PERIOD, world.rid)


class Files:
    """A package that keeps the names of its files."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def add(self, name: str, content: bytes) -> None:
        self.files[name] = content

    def add_file(self, name: str, source: object) -> None:
        raise AssertionError(name, source)


async def test_the_log_of_a_tenant_that_was_never_anchored_has_no_proofs(world: World) -> None:
    await world.anchor()
    await world.anchor()
    package = Files()
    size, checkpoint = await ExportAnchors(world.anchors)(package, "bolt", lambda _done, _total: None)
    assert (size, package.files["proofs/heads.jsonl"]) == (2, b"")
    assert checkpoint.encode() == world.anchors.files["checkpoint/0000000002"]
