"""One suite of the audit chain over memory and Azurite: each event is chained once."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from datetime import timedelta

import pytest

from shared.adapters.documents.audit_periods import DocumentAuditPeriods
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.adapters.tables import audit_chain
from shared.adapters.tables.audit_chain import TableAuditChain
from shared.adapters.tables.store import Delete, Insert, TableStore
from shared.application.audit.verify_audit_log import VerifyAuditLog
from shared.domain.audit.hash_chain import canonical, genesis
from tests.tools.audit_logs import chain_of, event_at, events, listed
from tests.tools.ledgers import NOW, PERIOD


@pytest.fixture(autouse=True)
def own_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test a table of its own, because they share an account."""
    monkeypatch.setattr(audit_chain, "AUDIT_LOG_TABLE", f"auditlog{secrets.token_hex(4)}")


@pytest.fixture
def log(store: TableStore) -> TableAuditChain:
    return TableAuditChain(store, chain_of())


async def verified(log: TableAuditChain, period: str = PERIOD) -> list[str]:
    return [
        each.message
        for each in (await VerifyAuditLog(log, chain_of(), DocumentAuditPeriods(InMemoryDocuments()))(period)).findings
    ]


async def test_a_month_without_events_has_no_chain(log: TableAuditChain) -> None:
    assert await log.head(PERIOD) is None
    assert await listed(log.entries(PERIOD, 1, 10)) == []
    assert await listed(log.periods()) == []
    assert await log.append(PERIOD, []) == 0
    assert await verified(log) == []


async def test_events_are_chained_in_order_and_once(log: TableAuditChain) -> None:
    first, second, third = events(3)
    assert await log.append(PERIOD, [first, second]) == 2
    assert await log.append(PERIOD, [second, third, first]) == 1
    assert [each.event_id for each in await listed(log.entries(PERIOD, 1, 9))] == [
        first.event_id, second.event_id, third.event_id
    ]  # fmt: skip
    assert [each.seq for each in await listed(log.entries(PERIOD, 2, 2))] == [2]
    head = await log.head(PERIOD)
    assert head is not None
    assert (head.period, head.seq) == (PERIOD, 3)
    assert {*await listed(log.unique_ids(PERIOD))} == {
        (first.event_id, 1), (second.event_id, 2), (third.event_id, 3)
    }  # fmt: skip
    assert await verified(log) == []


async def test_an_event_that_comes_twice_at_once_is_chained_once(log: TableAuditChain) -> None:
    first, second = events(2)
    assert await log.append(PERIOD, [first, second, first, second]) == 2
    assert [each.event_id for each in await listed(log.entries(PERIOD, 1, 9))] == [first.event_id, second.event_id]
    assert await verified(log) == []


async def test_the_chain_recomputes_from_the_documented_format(log: TableAuditChain) -> None:
    await log.append(PERIOD, events(2, "\u00fc"))
    head = hashlib.sha256(f"{PERIOD}/audit".encode()).hexdigest()
    assert head == genesis(PERIOD, "audit")
    for entry in await listed(log.entries(PERIOD, 1, 2)):
        fields = {
            "seq": entry.seq, "method": "sha256", "key_version": "0", "event_id": entry.event_id, "event": entry.text
        }  # fmt: skip
        head = hashlib.sha256(head.encode() + canonical(fields)).hexdigest()
        assert head == entry.sealed.hash
    found = await log.head(PERIOD)
    assert found is not None
    assert found.head == head


async def test_each_month_has_a_chain_of_its_own(log: TableAuditChain) -> None:
    october = event_at(NOW - timedelta(days=30))
    await log.append(PERIOD, events(1))
    await log.append("2026-10", [october])
    assert await listed(log.periods()) == ["2026-10", PERIOD]
    assert await listed(log.periods("2026-11")) == [PERIOD]
    assert await listed(log.periods("", "2026-11")) == ["2026-10"]
    assert (await verified(log), await verified(log, "2026-10")) == ([], [])


async def test_many_and_long_events_are_several_transactions(log: TableAuditChain) -> None:
    many = [*events(60), event_at(NOW, "\u00fc" * 100_000), event_at(NOW, "y" * 240_000), *events(2, "z" * 20_000)]
    assert await log.append(PERIOD, many) == 64
    stored = await listed(log.entries(PERIOD, 1, 100))
    assert [each.text for each in stored] == [each.text for each in many]
    assert await verified(log) == []


async def test_processes_that_chain_the_same_events_at_once_chain_each_once(store: TableStore) -> None:
    waiting = events(30)
    logs = [TableAuditChain(store, chain_of()) for _ in range(3)]
    added = await asyncio.gather(
        *(log.append(PERIOD, waiting[start:]) for start, log in zip((0, 5, 0), logs, strict=True))
    )
    assert sum(added) == 30
    assert sorted(each.event_id for each in await listed(logs[0].entries(PERIOD, 1, 99))) == sorted(
        each.event_id for each in waiting
    )
    assert await verified(logs[0]) == []


async def test_removed_entries_leave_the_head_and_removing_them_again_changes_nothing(
    store: TableStore, log: TableAuditChain
) -> None:
    waiting = events(120)
    await log.append(PERIOD, waiting)
    await store.submit(audit_chain.AUDIT_LOG_TABLE, PERIOD, [Delete(audit_chain.entry_key(7))], "test")
    await store.submit(audit_chain.AUDIT_LOG_TABLE, PERIOD, [Delete(audit_chain.mark_key(waiting[8].event_id))], "test")
    head = await log.head(PERIOD)
    assert await log.remove(PERIOD, 110) == 109
    assert await log.remove(PERIOD, 110) == 0
    assert await log.head(PERIOD) == head
    assert [each.seq for each in await listed(log.entries(PERIOD, 1, 999))] == [*range(111, 121)]


async def test_rows_that_something_else_wrote_are_read_with_their_faults(
    store: TableStore, log: TableAuditChain
) -> None:
    await log.append(PERIOD, events(1))
    for key, fields in {
        "E|x": {"seq": 3},
        audit_chain.entry_key(3): {"event": "{}"},
        audit_chain.entry_key(4): {"seq": 5, "event": json.dumps({}), "more": "y"},
        "U|y": {"other": "z"},
    }.items():
        await store.submit(audit_chain.AUDIT_LOG_TABLE, PERIOD, [Insert(key, fields)], "test")  # type: ignore[arg-type]
    (entry,) = [each for each in await listed(log.entries(PERIOD, 2, 10)) if each.seq == 4]
    assert {"more is no property of an entry", "the number in it is 5"} <= {*entry.faults}
    assert ("y", -1) in await listed(log.unique_ids(PERIOD))
