"""The entries of the audit log are compared with the heads that were anchored."""

from __future__ import annotations

import pytest

from shared.adapters.in_memory.table_store import InMemoryTableStore
from shared.adapters.tables.audit_chain import AUDIT_LOG_TABLE, TableAuditChain
from shared.adapters.tables.store import Merge
from shared.application.audit.verify_anchored_events import VerifyAnchoredEvents
from shared.domain.audit.audit_chain import audit_genesis
from tests.tools.audit_logs import chain_of, events
from tests.tools.ledgers import PERIOD


@pytest.fixture
def store() -> InMemoryTableStore:
    return InMemoryTableStore()


async def chain_with(store: InMemoryTableStore, count: int, text: str = "x") -> tuple[TableAuditChain, dict[int, str]]:
    """Return a chain with some events, and the hashes of all its entries."""
    chain = TableAuditChain(store, chain_of())
    await chain.append(PERIOD, events(count, text))
    return chain, {entry.seq: entry.sealed.hash async for entry in chain.entries(PERIOD, 1, count)}


async def compared(chain: TableAuditChain, anchored: dict[int, str]) -> str:
    return "\n".join(f"{each.path}: {each.message}" for each in await VerifyAnchoredEvents(chain)(PERIOD, anchored))


async def test_a_log_that_is_as_it_was_anchored_has_no_finding(store: InMemoryTableStore) -> None:
    chain, hashes = await chain_with(store, 5)
    assert await compared(chain, {seq: hashes[seq] for seq in (2, 4)} | {0: audit_genesis(PERIOD)}) == ""
    assert await compared(chain, {}) == ""


async def test_a_log_that_lost_its_newest_entries_is_told(store: InMemoryTableStore) -> None:
    chain, hashes = await chain_with(store, 5)
    assert "entry 9 was anchored, and the log ends at entry 5" in await compared(chain, hashes | {9: "ab"})


async def test_a_log_that_was_removed_is_told(store: InMemoryTableStore) -> None:
    _, hashes = await chain_with(store, 2)
    empty = TableAuditChain(InMemoryTableStore(), chain_of())
    assert "entry 2 was anchored, and the log ends at entry 0" in await compared(empty, hashes)


async def test_another_history_is_told_entry_by_entry(store: InMemoryTableStore) -> None:
    _, hashes = await chain_with(store, 3)
    forged, _ = await chain_with(InMemoryTableStore(), 3, "forged")
    told = await compared(forged, hashes)
    assert told.count("is not the one that was anchored") == 3
    assert f"B: audit log of {PERIOD}: the head is not that of entry 3 as it was anchored" in told


async def test_entries_that_retention_has_deleted_are_no_finding(store: InMemoryTableStore) -> None:
    chain, hashes = await chain_with(store, 5)
    await chain.remove(PERIOD, 3)
    assert await compared(chain, hashes) == ""


async def test_a_head_that_cannot_be_read_is_told(store: InMemoryTableStore) -> None:
    chain, hashes = await chain_with(store, 2)
    row = await store.get(AUDIT_LOG_TABLE, PERIOD, "B")
    assert row is not None
    await store.submit(AUDIT_LOG_TABLE, PERIOD, [Merge("B", {"seq": "x"}, row.etag)], "tamper")
    assert (await compared(chain, hashes)).startswith("B: ")
