"""Somebody with access to the tables writes, copies and deletes waiting audit events, or writes into the log."""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from shared.adapters.canonical_json import encode_canonical
from shared.adapters.documents.audit import AuditedDocuments
from shared.adapters.documents.audit_periods import DocumentUnchainedEvents
from shared.adapters.documents.codec import to_json
from shared.adapters.documents.store import OutboxRow
from shared.adapters.documents.tenancy import DocumentTenants
from shared.adapters.tables.audit_chain import AUDIT_LOG_TABLE
from shared.adapters.tables.documents import TableDocuments
from shared.adapters.tables.store import AnswerLost, Insert, Merge
from shared.application.audit.read_audit_log import AuditCursor, AuditFilter, ReadAuditLog
from shared.application.sweep import SweepFailed
from shared.domain.audit.audit_chain import WaitingEvent
from shared.domain.identifiers import BillingPeriod, rid_at, timestamp
from tests.contract.storage.conftest import table_service
from tests.tools.audit_logs import AuditLog, event_at, listed
from tests.tools.events import told
from tests.tools.ledgers import NOW, PERIOD
from tests.tools.stack import AzuriteAccount
from tests.unit.audit.test_audit_periods import ANN, managed
from tests.unit.audit.test_verify_documents import PLACE, TENANT, World

ID = "1" * 32
AT = timestamp(NOW)
NOVEMBER = BillingPeriod.containing(NOW)


def forged(event_id: str = ID, at: str = AT, **fields: object) -> OutboxRow:
    """Return a row in the form of an event."""
    return OutboxRow(event_id, encode_canonical({"event_id": event_id, "at": at, **fields}).decode())


def nested(levels: int) -> OutboxRow:
    return OutboxRow(ID, f'{{"after":{{"x":{"[" * levels}{"]" * levels}}},"at":"{AT}","event_id":"{ID}"}}')


def reader(log: AuditLog) -> ReadAuditLog:
    return ReadAuditLog(log.log, DocumentUnchainedEvents(log.documents), log.clock)


@pytest.mark.parametrize(
    "row",
    [
        nested(60),
        nested(5000),
        forged(refusals=5),
        forged(refusals=[1]),
        forged(refusals=[{"reason": "x"}]),
        forged(target=["acme"]),
        forged(place=7),
        forged(after="x" * 400_000),
        forged(reason="x" * 400_000),
        forged("A" * 32),
        forged("x'y"),
        forged("1"),
        forged(at="2026-11-22"),
    ],
    ids=lambda row: row.text[:40],
)
async def test_a_row_that_is_no_event_is_never_chained_and_stops_no_other(row: OutboxRow) -> None:
    log = AuditLog()
    await log.documents.append("audit", "outbox", row)
    await log.record("good.event")
    for _ in range(2):
        with pytest.raises(SweepFailed, match=f"audit/outbox/{row.event_id}.*holds no event"):
            await log.timer()
    assert [each["action"] for each in await log.chained()] == ["good.event"]
    assert len(await log.documents.pending("audit", 10)) == 1


async def test_a_number_among_the_parts_of_an_event_stops_no_other(azurite: AzuriteAccount) -> None:
    async with table_service(azurite.table_endpoint, azurite.key) as service:
        table = f"t{secrets.token_hex(6)}"
        client = await service.create_table(table)
        await client.create_entity({"PartitionKey": "p", "RowKey": f"~audit|{ID}", "audit": "{", "audit1": 1})
        documents = TableDocuments(service)
        await documents.append(table, "p", forged("2" * 32))
        assert [each.text[:2] for each in await documents.pending(table, 10)] == ["{1", '{"']


@pytest.mark.parametrize("refusals", [5, [1], [{"reason": "x"}]])
async def test_an_entry_that_somebody_wrote_by_hand_stops_no_reader(refusals: object) -> None:
    log, good, bad = AuditLog(), event_at(NOW), forged(refusals=refusals)
    await log.log.append(PERIOD, [good, WaitingEvent(ID, AT, bad.text), WaitingEvent("2" * 32, AT, nested(5000).text)])
    page = await reader(log).page(AuditFilter(target="acme"), None, 10)
    assert [(each.seq, dict(each.fields)) for each in page.events] == [(3, {}), (2, {})]


async def test_partitions_that_are_no_months_are_no_chains() -> None:
    log = AuditLog()
    await log.record("good.event")
    await log.timer()
    for partition in ("!", "0000-13", "20261", "zzzz"):
        await log.store.submit(AUDIT_LOG_TABLE, partition, [Insert("B", {"seq": 1})], "forged")
    assert await listed(log.log.periods()) == [PERIOD]
    page = await reader(log).page(AuditFilter(), None, 10)
    assert ([each.seq for each in page.events], page.next_cursor) == ([1], None)


async def test_an_event_of_the_far_future_is_listed() -> None:
    log = AuditLog()
    await log.record("later.event", datetime(2031, 1, 1, tzinfo=UTC))
    await log.record("event")
    await log.timer()
    page = await reader(log).page(AuditFilter(), None, 1)
    assert [each.fields["action"] for each in page.events] == ["later.event"]
    page = await reader(log).page(AuditFilter(), page.next_cursor, 9)
    assert [each.fields["action"] for each in page.events] == ["event"]


async def test_a_cursor_of_the_far_future_reads_no_months_that_do_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditLog()
    await log.record("event")
    await log.timer()
    heads, head = list[str](), log.log.head

    async def counted(period: str) -> object:
        heads.append(period)
        return await head(period)

    monkeypatch.setattr(log.log, "head", counted)
    page = await reader(log).page(AuditFilter(), AuditCursor("9999-12", 5), 9)
    assert (len(page.events), heads) == (1, [PERIOD])


@pytest.mark.parametrize("table", ["tenants", "credentials", "backends", "prices"])
async def test_the_deletion_of_the_waiting_event_of_a_creation_is_found(table: str) -> None:
    world = World()
    await world.fill()
    for row in await world.log.documents.pending(table, 9):
        await world.log.documents.withdraw(row)
    await world.log.timer()
    verified = await world.verify()()
    assert {each.place[0] for each in verified.findings} == {table}
    assert all("which is missing" in each.message for each in verified.findings)
    assert verified.unproven == 0


async def test_documents_are_compared_though_the_head_of_the_log_is_damaged() -> None:
    world = World()
    await world.fill()
    await world.log.timer()
    head = await world.log.store.get(AUDIT_LOG_TABLE, PERIOD, "B")
    assert head is not None
    await world.log.store.submit(AUDIT_LOG_TABLE, PERIOD, [Merge("B", {"seq": "x"}, head.etag)], "forged")
    assert (await world.verify()()).findings == []
    await world.write(name="Edited")
    assert await world.found() == ["the document is not as"]


async def changed_in(world: World, *days: int) -> None:
    """Change the tenant on several days after its creation, each with a chained event."""
    tenants = DocumentTenants(world.log.documents)
    for day in days:
        found, at = await tenants.get("acme"), NOW + timedelta(days=day)
        assert found is not None
        changed = replace(found.value, name=f"Day {day}")
        event = replace(told(before=found.value, after=changed), event_id=rid_at(at), at=at)
        await tenants.replace(changed, found.etag, event)
        await world.log.timer()


@pytest.mark.parametrize(("days", "unproven"), [((20,), 1), ((20, 50), 0)], ids=["newest", "between"])
async def test_what_retention_deletes_after_a_month_on_hold_is_no_finding(days: tuple[int, ...], unproven: int) -> None:
    world = World()
    await world.fill()
    await changed_in(world, *days)
    world.log.clock.moment = NOW + timedelta(days=80)
    periods = managed(world.log)
    await periods.hold(NOVEMBER, ANN)
    assert await periods.expire() == 1
    verified = await world.verify()()
    assert (verified.findings, verified.unproven) == ([], unproven)
    await world.write(name="Edited")
    assert await world.found() == ["the document is not as"]


async def test_a_removal_whose_event_retention_has_deleted_is_no_finding() -> None:
    world = World()
    await world.fill()
    await world.log.timer()
    found, at = await world.log.documents.get(*PLACE), NOW + timedelta(days=20)
    assert found is not None
    event = replace(told(before=TENANT), event_id=rid_at(at), at=at)
    await AuditedDocuments(world.log.documents).remove("tenants", found, event)
    await world.log.timer()
    assert (await world.verify()()).findings == []
    world.log.clock.moment = NOW + timedelta(days=80)
    await managed(world.log).hold(NOVEMBER, ANN)
    assert await managed(world.log).expire() == 1
    verified = await world.verify()()
    assert (verified.findings, verified.unproven) == ([], 1)


@pytest.mark.parametrize("event_id", ["", "x", "f" * 32, "9" * 32])
async def test_a_document_that_names_a_strange_event_is_found(event_id: str) -> None:
    world = World()
    await world.fill()
    await changed_in(world, 20)
    world.log.clock.moment = NOW + timedelta(days=80)
    await managed(world.log).hold(NOVEMBER, ANN)
    assert await managed(world.log).expire() == 1
    await world.log.documents.replace(*PLACE, to_json(TENANT), "*", OutboxRow(event_id, "forged"))
    assert await world.found() == ["the document was written again after"]


async def test_entries_that_tell_of_no_document_stop_no_comparison() -> None:
    world = World()
    await world.fill()
    texts = (nested(5000).text, '{"event_id":"x","place":1}', "[]", "x")
    await world.log.log.append(PERIOD, [WaitingEvent(f"{n:032}", AT, text) for n, text in enumerate(texts)])
    assert await world.found() == []


async def deleting(log: AuditLog) -> None:
    """Let retention begin to delete a month of 150 events, and die after its first transaction."""
    await log.log.append("2026-08", [event_at(datetime(2026, 8, 1, tzinfo=UTC), str(n)) for n in range(150)])
    log.faulty.on_submit = [None, AnswerLost()]
    with pytest.raises(SweepFailed):
        await managed(log).expire()
    log.faulty.on_submit = []
    assert 0 < len(await listed(log.log.entries("2026-08", 1, 150))) < 150


async def test_a_month_that_retention_has_begun_to_delete_verifies() -> None:
    log = AuditLog()
    await deleting(log)
    assert await log.findings("2026-08") == []
    assert await managed(log).expire() > 0
    assert await log.findings("2026-08") == []


async def test_an_entry_that_is_edited_while_retention_deletes_is_found() -> None:
    log = AuditLog()
    await deleting(log)
    row = await log.store.get(AUDIT_LOG_TABLE, "2026-08", "E|0000000000000002")
    assert row is not None
    await log.store.submit(AUDIT_LOG_TABLE, "2026-08", [Merge(row.key, {"event": "{}"}, row.etag)], "forged")
    assert await log.findings("2026-08") == ["E|0000000000000002: retention has deleted this entry, and it is there"]


async def test_a_deletion_that_begins_during_a_verification_is_no_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditLog()
    await log.log.append("2026-08", [event_at(datetime(2026, 8, 1, tzinfo=UTC), str(n)) for n in range(3)])
    head = log.log.head

    async def deleted_after(period: str) -> object:
        found = await head(period)
        monkeypatch.setattr(log.log, "head", head)
        await managed(log).expire()
        return found

    monkeypatch.setattr(log.log, "head", deleted_after)
    assert await log.findings("2026-08") == []
