"""Proofs of entries that cannot be made."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.adapters.documents.tenancy import DocumentTenants
from shared.adapters.in_memory.anchors import InMemoryAnchors
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.adapters.in_memory.table_store import InMemoryTableStore
from shared.adapters.tables.books import TableBooks
from shared.adapters.tables.ledger import TableLedger
from shared.adapters.tables.store import Insert
from shared.application.evidence import find_leaf, log_path
from shared.application.evidence.export_anchors import ExportAnchors
from shared.application.evidence.find_leaf import FindLeaf
from shared.application.evidence.prove_entry import EntryNotProvable, NotAnchoredYet, ProveEntry
from shared.domain.audit.anchor_files import ChainHead, unread_head
from shared.domain.audit.checkpoint import parse_checkpoint
from shared.domain.audit.entry_proof import proof_document, read_proof, verify_proof
from shared.domain.audit.hash_chain import ChainVerifier, HashChain, KeyRing
from shared.domain.audit.signed_note import parse_note
from shared.domain.errors import NotFound, StorageUnavailable
from shared.domain.identifiers import rid_at, timestamp
from shared.domain.ledger.balance import Lane
from shared.domain.ledger.entries import EntryKind
from shared.domain.tenancy.tenant import Tenant
from tests.tools.anchor_logs import WrittenLog
from tests.tools.earlier_chain import EarlierChain
from tests.tools.events import told
from tests.tools.ledgers import NOW, PERIOD, ManualClock, account, charge, reservation

NEXT = "2026-12"
CHAIN = f"ledger/{PERIOD}/acme|00"


class World:
    """A tenant with one entry, and a log of heads."""

    def __init__(self, chain: HashChain) -> None:
        self.store = InMemoryTableStore()
        self.clock = ManualClock()
        self.ledger = TableLedger(self.store, chain, self.clock)
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

    async def anchor(self, *periods: str) -> None:
        heads = []
        for period in periods or (PERIOD,):
            balance = await self.ledger.balance(Lane("acme", period))
            assert balance is not None
            heads.append(ChainHead(chain=f"ledger/{period}/acme|00", seq=balance.seq, head=balance.head))
        self.log.write(*heads, at=NOW + timedelta(minutes=5))
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


async def late_world() -> tuple[World, str, str]:
    """Return a world with an expired and a late entry, one in the next month, and both rids."""
    world = World(HashChain(KeyRing(keys={"0": b"k"})))
    await world.serve()
    late, adjusted = (replace(reservation(), rid=rid_at(NOW)) for _ in range(2))
    for held in (late, adjusted):
        await world.ledger.reserve(account(), held)
        await world.ledger.expire(held, charge(10, 0, EntryKind.EXPIRE))
    await world.ledger.settle(late, charge(5, 300))
    await world.ledger.begin_closing(account())
    await world.ledger.close(account())
    world.clock.seconds = 11 * 86_400
    await world.ledger.settle(adjusted, charge(5, 300))
    return world, late.rid, adjusted.rid


async def test_each_entry_of_a_reservation_is_proved_by_its_number() -> None:
    world, late, adjusted = await late_world()
    await world.anchor(PERIOD, NEXT)
    found = {}
    for period, rid, seq in ((PERIOD, late, None), (PERIOD, late, 4), (PERIOD, adjusted, 3), (NEXT, adjusted, 1)):
        proof = await world.prove("acme", period, rid, seq)
        root = parse_checkpoint(parse_note(proof.checkpoint.encode()).text).root
        verify_proof(read_proof(json.loads(json.dumps(proof_document(proof)))), root, ChainVerifier({}))
        found[period, rid, seq] = proof.entry["kind"]
    assert [*found.values()] == ["expire", "late", "expire", "adjust"]


@pytest.mark.parametrize("seq", [0, 1, 5, 6, 10**15])
async def test_the_number_of_an_entry_of_something_else_proves_nothing(seq: int) -> None:
    world, late, _ = await late_world()
    await world.anchor(PERIOD, NEXT)
    for rid in (late, ""):
        with pytest.raises(NotFound):
            await world.prove("acme", PERIOD, rid, seq)


async def head_of(world: World) -> ChainHead:
    balance = await world.ledger.balance(Lane("acme", PERIOD))
    assert balance is not None
    return ChainHead(chain=CHAIN, seq=balance.seq, head=balance.head)


GENESIS = ChainHead(chain=CHAIN, seq=0, head="0" * 64)
OTHER = ChainHead(chain="ledger/2026-11/bolt|00", seq=1, head="0" * 64)


@pytest.mark.parametrize("wrong", [datetime(2999, 1, 1, tzinfo=UTC), datetime(1999, 1, 1, tzinfo=UTC)])
@pytest.mark.parametrize("place", [0, 7, 19, 20, 21, 39])
async def test_a_leaf_with_a_wrong_time_hides_no_entry(world: World, wrong: datetime, place: int) -> None:
    head = await head_of(world)
    for n in range(40):
        moment = NOW + timedelta(minutes=5 * (n - 20))
        world.log.write(head if n >= 20 else GENESIS, OTHER, at=wrong if n == place else moment)
    world.anchors.files.update(world.log.files)
    assert (await world.prove("acme", PERIOD, world.rid)).log.index == 20


async def test_the_chain_is_searched_beyond_leaves_in_which_it_could_not_be_read(world: World) -> None:
    head = await head_of(world)
    for n in range(12):
        world.log.write(unread_head(CHAIN) if 2 <= n < 9 else GENESIS if n < 2 else head, at=NOW - timedelta(hours=n))
    world.anchors.files.update(world.log.files)
    world.anchors.files["heads/0000000009.json"] = b"["
    world.anchors.files["heads/0000000005.json"] = b"[]"
    assert (await world.prove("acme", PERIOD, world.rid)).log.index == 10


async def test_a_leaf_that_cannot_be_read_hides_no_other(world: World) -> None:
    anchors = await long_log(world, 20)
    anchors.files["leaf/0000000010.json"] = b"x"
    found = await FindLeaf(anchors)(CHAIN, 1, timestamp(NOW))
    assert found is not None
    assert found.n == 19
    del anchors.files["heads/0000000019.json"]
    assert await FindLeaf(anchors)(CHAIN, 1, timestamp(NOW)) is None


async def test_a_chain_that_no_leaf_has_is_not_anchored(world: World) -> None:
    with pytest.raises(NotAnchoredYet):
        await world.prove("acme", PERIOD, world.rid)
    for _ in range(3):
        world.log.write(OTHER)
    for _ in range(60):
        world.log.write(unread_head(CHAIN))
    world.anchors.files.update(world.log.files)
    with pytest.raises(NotAnchoredYet):
        await world.prove("acme", PERIOD, world.rid)


async def test_a_chain_that_is_left_out_because_it_was_final_is_found_where_it_was(world: World) -> None:
    head = replace(await head_of(world), is_closed=True)
    later = replace(OTHER, chain="ledger/2026-12/bolt|00")
    for n in range(30):
        world.log.write(*([GENESIS] if n < 4 else [head] if n == 4 else []), later, at=NOW + timedelta(minutes=n))
    world.anchors.files.update(world.log.files)
    assert (await world.prove("acme", PERIOD, world.rid)).log.index == 4


@dataclass
class CountedAnchors(InMemoryAnchors):
    """Files that count how often they are read."""

    reads: int = 0
    takes_writes: bool = True

    def __post_init__(self) -> None:
        super().__init__()

    async def read(self, path: str) -> bytes | None:
        self.reads += 1
        return await super().read(path)

    async def create(self, path: str, content: bytes) -> bool:
        if not self.takes_writes:
            raise StorageUnavailable
        return await super().create(path, content)


async def long_log(world: World, leaves: int) -> CountedAnchors:
    head = await head_of(world)
    for n in range(leaves - 1):
        world.log.write(GENESIS, at=NOW + timedelta(minutes=n - leaves))
    world.log.write(head, at=NOW + timedelta(minutes=5))
    anchors = CountedAnchors()
    anchors.files.update(world.log.files)
    return anchors


@pytest.mark.parametrize("leaves", [1, 2, 64, 65, 130, 257])
async def test_a_proof_in_a_long_log_reads_few_files(world: World, leaves: int) -> None:
    anchors = await long_log(world, leaves)
    for is_first in (True, False):
        anchors.reads = 0
        prove = ProveEntry(TableBooks(world.store), anchors, world.tenants)  # a new process
        proof = await prove("acme", PERIOD, world.rid)
        root = parse_checkpoint(parse_note(proof.checkpoint.encode()).text).root
        verify_proof(proof, root, ChainVerifier({}))
        assert (proof.log.index, is_first or anchors.reads < 64 + 60) == (leaves - 1, True)
        anchors.reads = 0
        assert await prove("acme", PERIOD, world.rid) == proof
        assert anchors.reads < 20
    assert sum(each.startswith("subtrees/") for each in anchors.files) == (leaves - 1) // 64


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b'["x"]', b'["%s"]' % (b"A" * 43 + b"="), b"[" * 9999])
async def test_forged_subtrees_mislead_nobody(world: World, content: bytes) -> None:
    anchors = await long_log(world, 70)
    anchors.files["subtrees/0000000064.json"] = content
    proof = await ProveEntry(TableBooks(world.store), anchors, world.tenants)("acme", PERIOD, world.rid)
    verify_proof(proof, parse_checkpoint(parse_note(proof.checkpoint.encode()).text).root, ChainVerifier({}))


async def test_subtrees_need_a_checkpoint_that_can_be_read(world: World) -> None:
    anchors = await long_log(world, 70)
    prove = ProveEntry(TableBooks(world.store), anchors, world.tenants)
    first = await prove("acme", PERIOD, world.rid)
    for checkpoint in (b"x", None):
        anchors.files.pop("checkpoint/0000000064") if checkpoint is None else anchors.files.update(
            {"checkpoint/0000000064": checkpoint}
        )
        assert await ProveEntry(TableBooks(world.store), anchors, world.tenants)("acme", PERIOD, world.rid) == first


async def test_a_proof_does_not_need_to_write(world: World) -> None:
    anchors = await long_log(world, 70)
    anchors.takes_writes = False
    assert (
        await ProveEntry(TableBooks(world.store), anchors, world.tenants)("acme", PERIOD, world.rid)
    ).log.index == 69


async def test_trees_that_are_kept_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_path, "_MOST_KEPT", 2)
    monkeypatch.setattr(find_leaf, "_MOST_TIMES", 2)
    anchors = await long_log(world, 257)
    assert (
        await ProveEntry(TableBooks(world.store), anchors, world.tenants)("acme", PERIOD, world.rid)
    ).log.index == 256


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda files: files.pop("leaf/0000000010.json"), "leaf/0000000010.json is missing"),
        (lambda files: files.update({"leaf/0000000010.json": b"x"}), "does not lead to the root"),
    ],
)
async def test_a_damaged_log_proves_nothing(world: World, damage: Callable[[Any], Any], message: str) -> None:
    anchors = await long_log(world, 20)
    find = FindLeaf(anchors)
    assert (await find(CHAIN, 1, "")) is not None
    damage(anchors.files)
    prove = ProveEntry(TableBooks(world.store), anchors, world.tenants)
    prove._find_leaf = find
    with pytest.raises(EntryNotProvable, match=message):
        await prove("acme", PERIOD, world.rid)
