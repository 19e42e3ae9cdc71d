"""The hash chain of a lane whose entries several versions of the gateway, and of its key, have written."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from shared.adapters.on_disk.anchored_heads import DiskHeads
from shared.adapters.tables.books import TableBooks
from shared.adapters.tables.ledger import TableLedger
from shared.adapters.tables.store import InspectableStore
from shared.application.audit.ledger_heads import chain_of
from shared.application.ledger.verify_ledger import VerifyLedger
from shared.domain.audit.anchor_files import ChainHead
from shared.domain.audit.hash_chain import ChainVerifier, HashChain, KeyRing
from shared.domain.identifiers import timestamp
from shared.domain.ledger.balance import Lane
from tests.tools.earlier_chain import EarlierChain
from tests.tools.ledgers import NOW as NOON
from tests.tools.ledgers import PERIOD, ManualClock, PriceRows, account, charge, reservation

KEYS = {"0": b"first-key", "1": b"second-key"}
EARLIER, SIGNING, ROTATED = (
    EarlierChain(KEYS["0"]),
    HashChain(KeyRing(keys=KEYS)),
    HashChain(KeyRing(keys=KEYS, newest="1")),
)
KEPT = ChainVerifier(KEYS)


def process(store: InspectableStore, chain: HashChain, hours: float = 0) -> TableLedger:
    return TableLedger(store, chain, ManualClock(moment=NOON + timedelta(hours=hours)))


async def serve(ledger: TableLedger, tenant: str, times: int = 1) -> None:
    for _ in range(times):
        held = reservation(tenant)
        await ledger.reserve(account(tenant), held)
        await ledger.settle(held, charge())


async def verified(
    store: InspectableStore, tenant: str, verifier: ChainVerifier = KEPT, **ends: str
) -> tuple[list[str], list[tuple[str, str, int]], list[str]]:
    """Return the violations, the number of entries by method and key version, and what is not proven."""
    key_ends = {name.removeprefix("version_"): end for name, end in ends.items()}
    verify = VerifyLedger(TableBooks(store), PriceRows(), verifier, key_ends=key_ends)
    found = [each.message async for _, findings in verify(PERIOD, tenant) for each in findings]
    counts = [(row.method, row.key_version, row.entries) for row in verify.chained.rows()]
    return found, counts, [each.reason for each in verify.chained.unproven()]


async def test_old_and_new_processes_write_one_lane_together(store: InspectableStore, tenant: str) -> None:
    old, new = process(store, EARLIER), process(store, SIGNING)
    await asyncio.gather(*(serve(ledger, tenant, 5) for ledger in (old, new)))
    methods = [bool(entry.method) async for entry in new.entries(Lane(tenant, PERIOD), 1, 99)]
    assert methods.count(True) == methods.count(False) == 5
    assert await verified(store, tenant) == ([], [("hmac", "0", 5), ("sha256", "0", 5)], [])


async def test_a_lane_changes_its_method_and_back_at_any_entry(store: InspectableStore, tenant: str) -> None:
    for chain in (EARLIER, SIGNING, EARLIER, ROTATED, SIGNING, EARLIER):
        await serve(process(store, chain), tenant)
    counts = [("hmac", "0", 3), ("sha256", "0", 2), ("sha256", "1", 1)]
    assert await verified(store, tenant) == ([], counts, [])


async def test_the_key_of_a_running_process_is_rotated(store: InspectableStore, tenant: str) -> None:
    chain = HashChain(KeyRing(keys={"0": KEYS["0"]}))
    ledger = process(store, chain)
    await serve(ledger, tenant)
    chain.use(KeyRing(keys=KEYS, newest="1"))
    await serve(ledger, tenant)
    assert await verified(store, tenant, chain) == ([], [("sha256", "0", 1), ("sha256", "1", 1)], [])


async def test_a_lost_key_is_told_and_its_entries_keep_their_hashes(store: InspectableStore, tenant: str) -> None:
    for chain in (SIGNING, ROTATED):
        await serve(process(store, chain), tenant)
    found, counts, unproven = await verified(store, tenant, ChainVerifier({"1": KEYS["1"]}))
    assert (found, counts) == ([], [("sha256", "0", 1), ("sha256", "1", 1)])
    assert unproven == ["mac not checked of 1 entry: key version 0 is not known"]


async def test_without_the_first_key_nothing_is_said_of_entries_of_earlier_versions(
    store: InspectableStore, tenant: str
) -> None:
    for chain in (EARLIER, EARLIER, ROTATED):
        await serve(process(store, chain), tenant)
    found, counts, unproven = await verified(store, tenant, ChainVerifier({"1": KEYS["1"]}))
    assert (found, counts) == ([], [("hmac", "0", 2), ("sha256", "1", 1)])
    assert unproven == ["2 entries cannot be proved without key version 0, which is missing"]


ONE_O_CLOCK = timestamp(NOON + timedelta(hours=1))


async def test_a_version_whose_end_has_come_signs_nothing_more(store: InspectableStore, tenant: str) -> None:
    await serve(process(store, SIGNING), tenant)
    await serve(process(store, EARLIER), tenant)
    await serve(process(store, ROTATED, hours=2), tenant)
    assert (await verified(store, tenant, version_0=ONE_O_CLOCK))[0] == []
    await serve(process(store, SIGNING, hours=2), tenant)
    await serve(process(store, EARLIER, hours=-48), tenant)  # whoever has stolen the key writes any time
    found, _, _ = await verified(store, tenant, version_0=ONE_O_CLOCK)
    assert found == [f"entry {seq} was signed by key version 0 after {ONE_O_CLOCK}, its end" for seq in (4, 5)]
    assert (await verified(store, tenant, version_1=ONE_O_CLOCK))[0] == [
        f"entry 3 was signed by key version 1 after {ONE_O_CLOCK}, its end"
    ]


async def test_an_anchor_proves_entries_whose_key_is_lost_up_to_the_next_that_nobody_can_compute(
    store: InspectableStore, tenant: str
) -> None:
    for chain in (SIGNING, EARLIER, SIGNING, ROTATED):
        await serve(process(store, chain), tenant)
    lane, heads = Lane(tenant, PERIOD), DiskHeads()
    (last,) = [entry.hash async for entry in process(store, SIGNING).entries(lane, 4, 4)]
    heads.add([ChainHead(chain=chain_of(lane), seq=4, head=last)])
    verify = VerifyLedger(TableBooks(store), PriceRows(), ChainVerifier({}))
    assert [found async for _, found in verify(PERIOD, tenant, heads)] == [[]]
    assert [(row.method, row.key_version, row.is_open, row.entries) for row in verify.chained.rows()] == [
        ("hmac", "0", True, 1),
        ("sha256", "0", False, 1),
        ("sha256", "0", True, 1),
        ("sha256", "1", False, 1),
    ]
