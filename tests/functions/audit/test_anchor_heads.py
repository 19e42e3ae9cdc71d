"""Anchoring: each run adds one signed leaf, also after crashes, beside other runs, and with damaged lanes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.adapters.documents.jobs import DocumentCursors
from shared.adapters.in_memory.anchors import InMemoryAnchors
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.adapters.in_memory.table_store import InMemoryTableStore
from shared.adapters.on_disk.signer import KeyFileSigner
from shared.adapters.tables.ledger import TableLedger
from shared.adapters.tables.store import Insert, Merge
from shared.application.audit import anchor_log
from shared.application.audit.anchor_heads import Anchored, AnchorHeads
from shared.application.audit.anchor_log import JOB, AnchorLog, AnchorsBehind, AnchorsDamaged
from shared.application.audit.copy_anchors import CopyAnchors
from shared.application.audit.ledger_heads import LedgerHeads
from shared.application.audit.verify_anchors import AnchorReplay
from shared.application.ports.anchors import (
    AnchorStore,
    CheckpointSigner,
    HeadSource,
    KeySignature,
    SigningUnavailable,
)
from shared.application.sweep import SweepFailed
from shared.domain.audit.anchor_files import (
    AnchorFiles,
    ChainHead,
    checkpoint_path,
    format_heads,
    heads_path,
    leaf_path,
    parse_heads,
    parse_leaf,
)
from shared.domain.audit.hash_chain import HashChain, KeyRing
from shared.domain.audit.signed_note import PublicKey
from shared.domain.audit.subtrees import parse_subtrees, subtrees_path
from shared.domain.errors import LedgerUnavailable, StorageUnavailable
from shared.domain.ledger.balance import LaneState
from shared.generated_secrets import generate_key_file
from tests.tools.anchor_logs import ORIGIN, head, messages, unread
from tests.tools.ledgers import PERIOD, ManualClock, account, charge, reservation
from tests.tools.stack import CHAIN_KEY


@dataclass(slots=True)
class Chains:
    """A source of heads that a test states."""

    now: list[ChainHead] = field(default_factory=list)
    failure: Exception | None = None
    asked: list[Set[str]] = field(default_factory=list)

    async def heads(self, final: Set[str]) -> AsyncIterator[ChainHead]:
        self.asked.append(final)
        for each in self.now:
            if each.group not in final:
                yield each
        if self.failure:
            raise self.failure


class Died(Exception):
    """The process died here."""


@dataclass(slots=True)
class Fragile:
    """A store whose process dies before or after a chosen write."""

    inner: AnchorStore
    dies_before: str = ""
    dies_after: str = ""

    async def create(self, path: str, content: bytes) -> bool:
        if self.dies_before and path.startswith(self.dies_before):
            raise Died
        created = await self.inner.create(path, content)
        if self.dies_after and path.startswith(self.dies_after):
            raise Died
        await asyncio.sleep(0)
        return created

    async def read(self, path: str) -> bytes | None:
        await asyncio.sleep(0)
        return await self.inner.read(path)

    def names(self, folder: str) -> AsyncIterator[str]:
        return self.inner.names(folder)


@dataclass(slots=True)
class World:
    """One container, one memory and one key, and any number of processes."""

    key: Path
    files: InMemoryAnchors = field(default_factory=InMemoryAnchors)
    documents: InMemoryDocuments = field(default_factory=InMemoryDocuments)
    clock: ManualClock = field(default_factory=ManualClock)
    chains: Chains = field(default_factory=Chains)

    @property
    def memory(self) -> DocumentCursors:
        return DocumentCursors(self.documents)

    def log(self, store: AnchorStore | None = None, origin: str = ORIGIN, slice_seconds: float = 120) -> AnchorLog:
        return AnchorLog(
            self.files if store is None else store,
            KeyFileSigner(self.key),
            self.memory,
            self.clock,
            origin,
            slice_seconds,
        )

    def process(self, *sources: HeadSource, store: AnchorStore | None = None, origin: str = ORIGIN) -> AnchorHeads:
        return AnchorHeads(self.log(store, origin), sources or [self.chains])

    async def run(self, times: int = 1) -> None:
        """Anchor in a new process each time, five minutes apart."""
        for _ in range(times):
            await self.process()()
            self.clock.seconds += 300

    async def replayed(self, kept: Sequence[bytes] = ()) -> tuple[AnchorReplay, str]:
        """Verify the log. Returns the replay, and all findings in words."""
        replay = AnchorReplay(await KeyFileSigner(self.key).public_keys(), origin=ORIGIN, kept=kept)
        found, files = [*replay.begin()], self.files.files
        for n in range(sum(path.startswith("leaf/") for path in files)):
            paths = leaf_path(n), heads_path(n), checkpoint_path(n + 1)
            leaf, heads, checkpoint = (files.get(path) for path in paths)
            found += replay.add(AnchorFiles(n=n, leaf=leaf, heads=heads, checkpoint=checkpoint))
        return replay, messages([*found, *replay.finish()])


@pytest.fixture
def world(tmp_path: Path) -> World:
    path = tmp_path / "audit-signing-key.pem"
    generate_key_file(path)
    return World(path, chains=Chains([head("acme|00", 1), head("blue|00", 2)]))


async def test_each_run_adds_one_leaf_that_verifies(world: World) -> None:
    assert await world.process()() == Anchored(size=1, heads=2)
    world.clock.seconds += 300
    world.chains.now = [head("acme|00", 5), head("blue|00", 2), head("coral|00", 1)]
    assert await world.process()() == Anchored(size=2, heads=3)
    replay, told = await world.replayed()
    assert (told, replay.notes, replay.signed_size) == ("", [], 2)
    leaf = parse_leaf(world.files.files[leaf_path(1)])
    assert (leaf.at, leaf.period, leaf.count) == ("2026-11-22T12:05:00.000Z", "2026-11", 3)
    assert parse_heads(world.files.files[heads_path(1)]) == world.chains.now


async def test_one_process_anchors_again_and_again(world: World) -> None:
    process = world.process()
    for size in range(1, 20):
        assert (await process()).size == size
    assert (await world.replayed())[1] == ""


async def test_a_gateway_without_chains_anchors_nothing_but_the_time(world: World) -> None:
    world.chains.now = []
    assert await world.process()() == Anchored(size=1, heads=0)
    assert (await world.replayed())[1] == ""


@pytest.mark.parametrize("moment", ["dies_before", "dies_after"])
@pytest.mark.parametrize("path", ["heads/", "leaf/", "checkpoint/"])
@pytest.mark.parametrize("runs_before", [0, 3])
async def test_a_process_that_dies_at_any_step_leaves_a_log_that_the_next_one_goes_on_with(
    world: World, moment: str, path: str, runs_before: int
) -> None:
    await world.run(runs_before)
    with pytest.raises(Died):
        await world.process(store=Fragile(world.files, **{moment: path}))()
    before = dict(world.files.files)
    world.chains.now = [head("acme|00", 7), head("blue|00", 9)]
    await world.run(2)
    assert (await world.replayed())[1] == ""
    assert before.items() <= world.files.files.items()


async def test_an_interrupted_leaf_is_signed_as_it_is(world: World) -> None:
    with pytest.raises(Died):
        await world.process(store=Fragile(world.files, dies_after="leaf/"))()
    assert checkpoint_path(1) not in world.files.files
    leaf = world.files.files[leaf_path(0)]
    assert (await world.process()()).size == 2
    assert world.files.files[leaf_path(0)] == leaf
    assert (await world.replayed())[1] == ""


@pytest.mark.parametrize("processes", [2, 5])
async def test_runs_at_the_same_time_write_one_log(world: World, processes: int) -> None:
    fragile = Fragile(world.files)
    for turn in range(6):
        sources = [Chains([head("acme|00", 10 * turn + each), head("blue|00", 3)]) for each in range(processes)]
        runs = await asyncio.gather(
            *(world.process(source, store=fragile)() for source in sources), return_exceptions=True
        )
        assert not [run for run in runs if not isinstance(run, Anchored | SweepFailed)]
        world.clock.seconds += 300
    replay, told = await world.replayed()
    assert "checkpoint" not in told
    assert replay.signed_size == replay.size >= 6


async def test_the_loser_of_a_race_goes_on_with_the_winners_heads(world: World) -> None:
    """The heads that were written first are those of the leaf, whoever writes it."""
    await world.files.create(heads_path(0), format_heads([head("acme|00", 3, closed=True)]))
    await world.run()
    leaf = parse_leaf(world.files.files[leaf_path(0)])
    assert (leaf.count, leaf.final) == (1, ("ledger/2026-11",))


async def test_closed_periods_are_read_until_their_last_heads_are_anchored(world: World) -> None:
    old = [head("acme|00", 9, period="2026-10", closed=True), head("blue|00", 4, period="2026-10")]
    new = [head("acme|00", 1)]
    world.chains.now = old + new
    await world.run()
    world.chains.now = [old[0], replace(head("blue|00", 5, period="2026-10"), is_closed=True), *new]
    await world.run(2)
    assert [sorted(final) for final in world.chains.asked] == [[], [], ["ledger/2026-10"]]
    assert [parse_leaf(world.files.files[leaf_path(n)]).count for n in range(3)] == [3, 3, 1]
    replay, told = await world.replayed()
    assert (told, replay.final) == ("", ("ledger/2026-10",))


async def test_a_chain_that_cannot_be_read_is_shown_in_the_leaf_and_reported_and_stops_no_other(world: World) -> None:
    world.chains.now = [unread("acme|00"), head("blue|00", 2)]
    world.chains.failure = SweepFailed([("ledger/2026-11/acme|00", LedgerUnavailable("damaged"))])
    with pytest.raises(SweepFailed, match=r"ledger/2026-11/acme\|00: LedgerUnavailable: damaged"):
        await world.process()()
    replay, told = await world.replayed()
    assert told == ""
    assert "could not be read: ledger/2026-11/acme|00" in replay.notes[0]
    assert replay.signed_size == 1


@pytest.mark.parametrize(
    "damaged", [{"seq": -5}, {"seq": True}, {"head": "not a hash"}, {"head": "\ud800"}, {"seq": -1, "head": "x"}]
)
async def test_a_head_that_is_none_stops_no_other(world: World, damaged: dict[str, object]) -> None:
    world.chains.now = [replace(head("acme|00", 1), **damaged), head("blue|00", 2)]  # type: ignore[arg-type]
    with pytest.raises(SweepFailed, match="no number and hash"):
        await world.process()()
    assert (await world.replayed())[1] == ""
    assert parse_heads(world.files.files[heads_path(0)])[0] == unread("acme|00")


async def test_chains_that_cannot_be_listed_write_no_leaf(world: World) -> None:
    """A leaf without them would look as if they had vanished."""
    world.chains.failure = StorageUnavailable()
    with pytest.raises(StorageUnavailable):
        await world.process()()
    assert world.files.files == {}


@pytest.mark.parametrize(
    ("then", "fault"),
    [([], "is missing; before it had 5"), ([head("acme|00", 4)], "has 4 entries; before it had 5"),
     ([head("acme|00", 5, branch="x")], "has another entry 5")],
)  # fmt: skip
async def test_a_chain_that_lost_entries_is_reported_at_once(world: World, then: list[ChainHead], fault: str) -> None:
    world.chains.now = [head("acme|00", 5)]
    await world.run()
    world.chains.now = then
    with pytest.raises(SweepFailed, match=fault):
        await world.process()()
    assert fault in (await world.replayed())[1]


async def test_missed_runs_are_gaps_that_the_replay_tells(world: World) -> None:
    await world.run(2)
    world.clock.seconds += 7200
    await world.run()
    replay, told = await world.replayed()
    assert told == ""
    assert replay.notes == [
        "no anchor for 125 minutes: leaf 1 2026-11-22T12:05:00.000Z, leaf 2 2026-11-22T14:10:00.000Z"
    ]


async def test_a_clock_that_goes_back_is_told_and_stops_nothing(world: World) -> None:
    await world.run(2)
    world.clock.moment -= timedelta(days=1)
    await world.run()
    replay, told = await world.replayed()
    assert told == ""
    assert "the clock went back" in replay.notes[0]


# Whoever can change files of the container, or the memory in the tables


async def test_a_run_reads_few_files_however_long_the_log_is(world: World) -> None:
    await world.run(30)
    read: list[str] = []

    class Counting(Fragile):
        async def read(self, path: str) -> bytes | None:
            read.append(path)
            return await super().read(path)

        def names(self, folder: str) -> AsyncIterator[str]:
            raise AssertionError("nothing is listed")

    await world.process(store=Counting(world.files))()
    assert len(read) < 10


@pytest.mark.parametrize("path", [checkpoint_path(3), leaf_path(2), heads_path(2)])
@pytest.mark.parametrize("content", [None, b"{}", b"[]"])
async def test_a_newest_file_that_is_gone_or_changed_is_an_error_and_nothing_is_signed(
    world: World, path: str, content: bytes | None
) -> None:
    await world.run(3)
    del world.files.files[path]
    if content is not None:
        world.files.files[path] = content
    before = dict(world.files.files)
    for _ in range(2):
        with pytest.raises(AnchorsDamaged, match=path):
            await world.process()()
    assert world.files.files == before


@pytest.mark.parametrize("memory", ["", "{", "[]", '{"checkpoint": "x", "subtrees": []}', '{"checkpoint": 1}'])
@pytest.mark.parametrize("path", [checkpoint_path(2), leaf_path(0), leaf_path(1), leaf_path(3)])
async def test_an_older_file_that_is_gone_is_found_when_the_log_is_read_anew(
    world: World, path: str, memory: str
) -> None:
    await world.run(4)
    await world.memory.put(JOB, memory)
    del world.files.files[path]
    with pytest.raises(AnchorsDamaged, match=path):
        await world.process()()


@pytest.mark.parametrize("path", [checkpoint_path(2), leaf_path(1)])
async def test_an_older_file_that_is_changed_is_found_when_the_log_is_read_anew(world: World, path: str) -> None:
    await world.run(4)
    await world.memory.put(JOB, "")
    content = world.files.files[path]
    world.files.files[path] = (
        content.replace(b"12:05", b"12:06") if path.startswith("leaf") else content[:-9] + b"AAAAAAA=\n"
    )
    with pytest.raises(AnchorsDamaged, match=checkpoint_path(2)):
        await world.process()()


async def test_the_log_is_read_anew_if_what_was_remembered_does_not_fit(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    await world.run(4)
    kept = json.loads(await world.memory.get(JOB))
    forged = {
        **kept,
        "subtrees": [subtree[::-1] if "=" not in subtree else "A" * 43 + "=" for subtree in kept["subtrees"]],
    }
    await world.memory.put(JOB, json.dumps(forged))
    await world.run()
    assert (await world.replayed())[1] == ""
    await world.memory.put(JOB, "nothing")
    await world.run()
    assert "remembered wrongly" in caplog.text
    assert (await world.replayed())[0].signed_size == 6


async def test_a_memory_that_was_set_back_costs_reading_only(world: World) -> None:
    await world.run(2)
    old = await world.memory.get(JOB)
    await world.run(4)
    await world.memory.put(JOB, old)
    await world.run()
    assert (await world.replayed())[0].signed_size == 7
    assert (await world.replayed())[1] == ""


async def test_the_newest_leaves_with_all_their_files_cannot_be_taken_away_unseen(world: World) -> None:
    """The memory in the tables has the signed checkpoint, which nobody can forge or explain away."""
    await world.run(4)
    for path in (heads_path(3), leaf_path(3), checkpoint_path(4)):
        del world.files.files[path]
    with pytest.raises(AnchorsDamaged, match=f"{checkpoint_path(4)} is missing"):
        await world.process()()


async def test_a_process_that_lives_on_notices_that_container_and_memory_were_set_back(world: World) -> None:
    await world.run(2)
    old_memory, old_files = await world.memory.get(JOB), dict(world.files.files)
    process = world.process()
    await process()
    await world.memory.put(JOB, old_memory)
    world.files.files = old_files
    with pytest.raises(AnchorsDamaged, match="had 3 leaves, and now has only 2"):
        await process()


async def test_a_leaf_that_somebody_else_made_in_advance_is_not_signed_unless_its_heads_are_there(world: World) -> None:
    await world.run(1)
    leaf = parse_leaf(world.files.files[leaf_path(0)])
    foreign = replace(leaf, n=1)
    await world.files.create(leaf_path(1), foreign.to_bytes())
    with pytest.raises(AnchorsDamaged, match=f"{heads_path(1)} is missing"):
        await world.process()()
    await world.files.create(heads_path(1), format_heads([head("acme|00", 99)]))
    with pytest.raises(AnchorsDamaged, match="has not the heads of leaf 1"):
        await world.process()()


@pytest.mark.parametrize("change", [{"n": 5}, {"final": ("ledger/2026-11",)}])
async def test_a_leaf_that_states_something_else_than_its_files_is_not_signed(
    world: World, change: dict[str, object]
) -> None:
    await world.run(1)
    leaf = replace(parse_leaf(world.files.files[leaf_path(0)]), n=1)
    await world.files.create(leaf_path(1), replace(leaf, **change).to_bytes())  # type: ignore[arg-type]
    await world.files.create(heads_path(1), world.files.files[heads_path(0)])
    with pytest.raises(AnchorsDamaged, match=leaf_path(1)):
        await world.process()()


async def test_a_checkpoint_that_was_made_in_advance_is_an_error(world: World) -> None:
    await world.run(1)
    await world.files.create(checkpoint_path(2), world.files.files[checkpoint_path(1)])
    with pytest.raises(AnchorsDamaged, match=f"{leaf_path(1)} is missing, and its checkpoint exists"):
        await world.process()()


async def test_a_checkpoint_with_a_later_number_shows_when_its_turn_comes(world: World) -> None:
    """Somebody skips a number: what he wrote is in the way of the log, and is told then."""
    await world.run(1)
    await world.files.create(checkpoint_path(3), world.files.files[checkpoint_path(1)])
    await world.run(1)
    with pytest.raises(AnchorsDamaged, match="its checkpoint exists"):
        await world.process()()


async def test_two_gateways_do_not_write_one_container(world: World, tmp_path: Path) -> None:
    await world.run(2)
    other = World(world.key, files=world.files, chains=world.chains)
    with pytest.raises(AnchorsDamaged, match="is of the log 'tallygate/books', not of 'tallygate/other'"):
        await other.process(origin="tallygate/other")()
    another_key = tmp_path / "another.pem"
    generate_key_file(another_key)
    with pytest.raises(AnchorsDamaged, match="no known key has signed"):
        await World(another_key, files=world.files, chains=world.chains).process()()
    assert len([path for path in world.files.files if path.startswith("checkpoint/")]) == 2


async def test_two_gateways_that_begin_at_once_write_one_log(world: World) -> None:
    fragile = Fragile(world.files)
    other = World(world.key, files=world.files, chains=world.chains)
    runs = await asyncio.gather(
        world.process(store=fragile)(), other.process(store=fragile, origin="tallygate/other")(), return_exceptions=True
    )
    assert sorted(type(run).__name__ for run in runs) == ["Anchored", "AnchorsDamaged"]


async def test_subtrees_of_the_log_are_kept_for_proofs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(anchor_log, "SUBTREES_EVERY", 4)
    await world.run(9)
    names = [each for each in world.files.files if each.startswith("subtrees/")]
    assert names == [subtrees_path(4), subtrees_path(8)]
    for size in (4, 8):
        content, checkpoint = world.files.files[subtrees_path(size)], world.files.files[checkpoint_path(size)]
        assert parse_subtrees(content, size, checkpoint) is not None
    assert (await world.replayed())[0].signed_size == 9


async def test_a_long_log_is_read_in_slices(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await world.run(9)
    monkeypatch.setattr(anchor_log, "REMEMBER_EVERY", 2)
    await world.memory.put(JOB, "")

    class Slow(Fragile):
        async def read(self, path: str) -> bytes | None:
            world.clock.seconds += 50
            return await super().read(path)

    slow = Slow(world.files)
    for _ in range(3):
        with pytest.raises(AnchorsBehind, match="the next run continues"):
            await world.process(store=slow)()
    await world.run()
    assert (await world.replayed())[0].signed_size == 10


# Keys


async def test_a_new_key_signs_beside_the_old_one_and_then_alone(world: World, tmp_path: Path) -> None:
    await world.run()
    old, new = world.key.read_bytes(), tmp_path / "new.pem"
    generate_key_file(new)
    for content in (new.read_bytes() + old, new.read_bytes() + public_part(old)):
        world.key.write_bytes(content)
        await world.run()
    assert [world.files.files[checkpoint_path(size)].count("— ".encode()) for size in (1, 2, 3)] == [1, 2, 1]
    assert (await world.replayed())[1] == ""


def public_part(pem: bytes) -> bytes:
    from shared.adapters import ecdsa_keys

    return ecdsa_keys.pem_of(ecdsa_keys.public_keys_from_pem(pem)[0]).encode()


async def test_an_old_key_that_was_thrown_away_is_told(world: World) -> None:
    await world.run()
    world.key.unlink()
    generate_key_file(world.key)
    with pytest.raises(AnchorsDamaged, match="no known key has signed"):
        await world.process()()


# The ledger's lanes


async def busy_ledger(store: InMemoryTableStore, *tenants: str) -> TableLedger:
    ledger = TableLedger(store, HashChain(KeyRing(keys={"0": CHAIN_KEY.encode()})), ManualClock())
    for tenant in tenants:
        held = reservation(tenant)
        await ledger.reserve(account(tenant), held)
        await ledger.settle(held, charge())
    return ledger


async def test_the_heads_of_all_lanes_are_anchored(world: World) -> None:
    ledger = await busy_ledger(InMemoryTableStore(), "acme", "blue")
    await ledger.open(account("calm"))
    await world.process(LedgerHeads(ledger))()
    heads = parse_heads(world.files.files[heads_path(0)])
    assert [(each.chain, each.seq) for each in heads] == [
        ("ledger/2026-11/acme|00", 1), ("ledger/2026-11/blue|00", 1), ("ledger/2026-11/calm|00", 0)
    ]  # fmt: skip
    entries = [entry async for entry in ledger.entries(reservation("acme").lane, 1, 1)]
    assert heads[0].head == (await busy_balance(ledger, "acme")).head
    assert len(entries) == 1


async def busy_balance(ledger: TableLedger, tenant: str):  # type: ignore[no-untyped-def]
    balance = await ledger.balance(reservation(tenant).lane)
    assert balance is not None
    return balance


async def test_a_closed_lane_is_closed_in_the_heads(world: World) -> None:
    ledger = await busy_ledger(InMemoryTableStore(), "acme")
    await ledger.begin_closing(account("acme"))
    await ledger.close(account("acme"))
    assert (await busy_balance(ledger, "acme")).state is LaneState.CLOSED
    await world.process(LedgerHeads(ledger))()
    await world.process(LedgerHeads(ledger))()
    assert parse_leaf(world.files.files[leaf_path(0)]).final == ("ledger/2026-11",)
    assert [parse_leaf(world.files.files[leaf_path(n)]).count for n in (0, 1)] == [1, 0]
    assert (await world.replayed())[1] == ""


TABLE = f"ledger{PERIOD.replace('-', '')}"


async def change_balance(store: InMemoryTableStore, tenant: str, fields: dict[str, str | int | bool]) -> None:
    row = await store.get(TABLE, f"{tenant}|00", "B")
    assert row is not None
    await store.submit(TABLE, f"{tenant}|00", [Merge("B", fields, row.etag)], "tamper")


async def test_a_damaged_lane_and_a_damaged_registry_stop_no_other(world: World) -> None:
    store = InMemoryTableStore()
    ledger = await busy_ledger(store, "acme", "blue")
    await change_balance(store, "acme", {"state": "BROKEN"})
    await store.submit("registry", PERIOD, [Insert("no lane", {})], "x")
    await store.submit("registry", "no period", [Insert("acme|00", {})], "y")
    with pytest.raises(SweepFailed) as raised:
        await world.process(LedgerHeads(ledger))()
    names = {name for name, _ in raised.value.failures}
    assert names == {"the periods", "the lanes of 2026-11", "ledger/2026-11/acme|00"}
    heads = parse_heads(world.files.files[heads_path(0)])
    assert [(each.chain[-7:], each.seq) for each in heads] == [("acme|00", -1), ("blue|00", 1)]


@pytest.mark.parametrize(
    "fields",
    [{"head": 5}, {"head": True}, {"seq": "x"}, {"seq": -1}, {"head": "\ud800"}, {"head": "A" * 64}],
)
async def test_a_balance_whose_head_has_another_type_stops_no_other(world: World, fields: dict[str, Any]) -> None:
    store = InMemoryTableStore()
    ledger = await busy_ledger(store, "acme", "blue")
    await change_balance(store, "acme", fields)
    with pytest.raises(SweepFailed, match="acme"):
        await world.process(LedgerHeads(ledger))()
    heads = parse_heads(world.files.files[heads_path(0)])
    assert [(each.chain[-7:], each.seq) for each in heads] == [("acme|00", -1), ("blue|00", 1)]
    assert (await world.replayed())[1] == ""


async def test_a_lane_that_was_registered_and_never_opened_is_no_chain(world: World) -> None:
    store = InMemoryTableStore()
    ledger = await busy_ledger(store, "acme")
    await store.submit("registry", PERIOD, [Insert("blue|00", {})], "x")
    assert (await world.process(LedgerHeads(ledger))()).heads == 1


async def test_a_thousand_lanes_are_anchored_in_one_leaf(world: World) -> None:
    store = InMemoryTableStore()
    ledger = await busy_ledger(store, "acme")
    row = await store.get(TABLE, "acme|00", "B")
    assert row is not None
    for number in range(1000):
        await store.submit("registry", PERIOD, [Insert(f"t{number:04}|00", {})], "x")
        await store.submit(TABLE, f"t{number:04}|00", [Insert("B", dict(row.fields))], "x")
    assert (await world.process(LedgerHeads(ledger))()).heads == 1001


# Witnesses


@dataclass(slots=True)
class Witnessing:
    """A witness that a test lets fail."""

    told: list[int] = field(default_factory=list)
    act: Callable[[], Awaitable[None]] | None = None
    name: str = "a witness"

    async def tell(self, size: int, checkpoint: bytes, log: AnchorStore) -> None:
        if self.act:
            await self.act()
        assert checkpoint == await log.read(checkpoint_path(size))
        self.told.append(size)


async def test_a_witness_that_fails_stops_no_anchor_and_is_told_again(world: World) -> None:
    async def fail() -> None:
        raise StorageUnavailable("gone")

    witness, other = Witnessing(act=fail), Witnessing()
    process = AnchorHeads(world.log(), [world.chains], [witness, other])
    with pytest.raises(SweepFailed, match="a witness: StorageUnavailable: gone"):
        await process()
    witness.act = None
    await process()
    assert (witness.told, other.told) == ([2], [1, 2])


async def test_a_witness_that_hangs_is_cut_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from shared.application.audit import anchor_heads

    monkeypatch.setattr(anchor_heads, "WITNESS_SECONDS", 0.01)

    async def hang() -> None:
        await asyncio.Event().wait()

    with pytest.raises(SweepFailed, match="a witness: TimeoutError"):
        await AnchorHeads(world.log(), [world.chains], [Witnessing(act=hang)])()
    assert (await world.replayed())[0].signed_size == 1


async def test_a_second_container_gets_every_file_also_those_of_missed_runs(world: World) -> None:
    await world.run(3)
    copies = InMemoryAnchors()
    process = AnchorHeads(world.log(), [world.chains], [CopyAnchors(copies, world.memory)])
    await process()
    await process()
    assert copies.files == world.files.files
    await CopyAnchors(copies, world.memory).tell(2, b"", world.files)  # an older run that ends late


async def test_a_second_container_that_has_another_file_is_told(world: World) -> None:
    await world.run(3)
    copies = InMemoryAnchors()
    await copies.create(leaf_path(1), b"another")
    with pytest.raises(SweepFailed, match=f"has another {leaf_path(1)} than the log"):
        await AnchorHeads(world.log(), [world.chains], [CopyAnchors(copies, world.memory)])()


async def test_a_file_that_is_gone_cannot_be_copied(world: World) -> None:
    await world.run(3)
    del world.files.files[heads_path(0)]
    with pytest.raises(SweepFailed, match=f"{heads_path(0)} is missing in the log"):
        await AnchorHeads(world.log(), [world.chains], [CopyAnchors(InMemoryAnchors(), world.memory)])()


async def test_a_new_container_gets_an_old_log_over_several_runs(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from shared.application.audit import copy_anchors

    monkeypatch.setattr(copy_anchors, "LEAVES_A_RUN", 4)
    await world.run(6)
    copies = InMemoryAnchors()
    process = AnchorHeads(world.log(), [world.chains], [CopyAnchors(copies, world.memory)])
    await process()
    assert len(copies.files) == 12
    await process()
    assert copies.files == world.files.files


class Outage(InMemoryAnchors):
    """A container that cannot be reached while `is_down`."""

    is_down = False

    async def create(self, path: str, content: bytes) -> bool:
        if self.is_down:
            raise StorageUnavailable
        return await super().create(path, content)

    async def read(self, path: str) -> bytes | None:
        if self.is_down:
            raise StorageUnavailable
        return await super().read(path)


@dataclass(slots=True)
class OutageOfKeys:
    """A signer whose vault cannot be reached while `is_down`."""

    inner: CheckpointSigner
    is_down: bool = False

    async def sign(self, message: bytes) -> Sequence[KeySignature]:
        if self.is_down:
            raise SigningUnavailable
        return await self.inner.sign(message)

    async def public_keys(self) -> Sequence[PublicKey]:
        return await self.inner.public_keys()


@pytest.mark.parametrize("blobs", [True, False])
@pytest.mark.parametrize("vault", [True, False])
@pytest.mark.parametrize("is_new_process", [True, False])
async def test_after_an_hour_without_vault_and_blobs_the_log_goes_on(
    world: World, *, blobs: bool, vault: bool, is_new_process: bool
) -> None:
    files, signer = Outage(), OutageOfKeys(KeyFileSigner(world.key))
    world.files = files

    def process() -> AnchorHeads:
        return AnchorHeads(AnchorLog(files, signer, world.memory, world.clock, ORIGIN, 120), [world.chains])

    anchor, number = process(), 1
    for minute in range(0, 90, 5):
        is_out = 10 <= minute < 70
        files.is_down, signer.is_down = is_out and blobs, is_out and vault
        number += 1
        world.chains.now = [head("acme|00", number)]
        anchor = process() if is_new_process else anchor
        if is_out and (blobs or vault):
            with pytest.raises(StorageUnavailable):
                await anchor()
        else:
            await anchor()
        world.clock.seconds += 300
    replay, found = await world.replayed()
    assert found == ""
    # Blobs without the vault: the leaf of the outage is signed afterwards, and is one more.
    leaves = 18 if not (blobs or vault) else 7 if vault and not blobs else 6
    assert replay.signed_size == leaves
    assert (await world.log(files).heads(parse_leaf(files.files[leaf_path(leaves - 1)])))[0].seq == number
    gaps = [each for each in replay.notes if each.startswith("no anchor for 6")]
    assert bool(gaps) == (blobs or vault)
