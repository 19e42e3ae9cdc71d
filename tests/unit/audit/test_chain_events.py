"""The timer `chain_audit`: each waiting event is chained once, whatever dies, fails or comes twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

import pytest

from shared.adapters.documents.audit_periods import DocumentAuditPeriods
from shared.adapters.documents.store import OutboxRow
from shared.adapters.tables.store import PreconditionFailed
from shared.application.audit import chain_events
from shared.application.audit.verify_audit_log import VerifyAuditLog
from shared.application.sweep import SweepFailed
from shared.domain.audit.audit_period import AuditPeriod
from shared.domain.audit.hash_chain import ChainVerifier, genesis
from shared.domain.errors import StorageUnavailable
from shared.domain.identifiers import timestamp
from tests.tools.audit_logs import AuditLog, event_at, events
from tests.tools.events import told
from tests.tools.ledgers import NOW, PERIOD

BAD = [
    "",
    "no JSON",
    "[]",
    "{}",
    '{"at":1,"event_id":"ID"}',
    '{"at":"2026-11-22T12:00:00.000Z"}',
    '{"at":"2026-11-22T12:00:00.000Z","event_id":"another"}',
    '{"at":"yesterday","event_id":"ID"}',
    '{"at":"2026-11-22T13:00:00.000+01:00","event_id":"ID"}',
    '{"event_id":"ID","at":"2026-11-22T12:00:00.000Z"}',
]


async def test_events_of_all_tables_are_chained_in_the_order_of_their_times() -> None:
    log = AuditLog()
    for seconds, action in ((2, "third"), (0, "first"), (1, "second")):
        await log.record(action, NOW + timedelta(seconds=seconds))
    await log.record("of october", NOW - timedelta(days=30))
    assert await log.timer() == 4
    assert [each["action"] for each in await log.chained()] == ["first", "second", "third"]
    assert [each["action"] for each in await log.chained("2026-10")] == ["of october"]
    assert await log.documents.pending("audit", 10) == []
    assert await log.timer() == 0
    assert await log.findings() == []


@pytest.mark.parametrize("fault", ["lost request", "lost response", "zombie"])
@pytest.mark.parametrize("step", [1, 2])
async def test_an_event_is_chained_once_though_a_transaction_is_lost(fault: str, step: int) -> None:
    log = AuditLog()
    await log.record("zero")
    await log.timer()
    for number in range(60):
        await log.record(str(number), NOW + timedelta(seconds=number))
    log.faulty.on_submit = [*[None] * (step - 1), fault]  # type: ignore[list-item]
    with pytest.raises(SweepFailed, match=f"the log of {PERIOD}: StorageUnavailable"):
        await log.timer()
    await log.record("later", NOW + timedelta(hours=1))
    await log.timer()
    assert [each["action"] for each in await log.chained()] == ["zero", *map(str, range(60)), "later"]
    assert await log.documents.pending("audit", 100) == []
    assert await log.findings() == []


async def test_an_event_is_chained_once_though_the_process_dies_before_its_row_is_deleted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = AuditLog()
    await log.record("first")
    dying = AuditLog(log.documents, log.store)

    async def die(_: object) -> None:
        raise StorageUnavailable("gone")

    monkeypatch.setattr(dying.timer._waiting, "remove", die)
    with pytest.raises(SweepFailed, match="audit/outbox/"):
        await dying.timer()
    assert len(await log.documents.pending("audit", 10)) == 1
    assert await log.timer() == 0
    assert [each["action"] for each in await log.chained()] == ["first"]
    assert await log.documents.pending("audit", 10) == []


async def test_two_processes_at_once_chain_each_event_once() -> None:
    one = AuditLog()
    others = [AuditLog(one.documents, one.store) for _ in range(3)]
    for number in range(120):
        await one.record(str(number), NOW + timedelta(seconds=number))
    chained = await asyncio.gather(*(each.timer() for each in (one, *others)))
    assert sum(chained) == 120
    assert sorted(int(each["action"]) for each in await one.chained()) == [*range(120)]
    assert await one.findings() == []


async def test_a_log_that_others_always_change_first_is_unavailable() -> None:
    log = AuditLog()
    await log.record("first")
    log.faulty.on_submit = [PreconditionFailed()] * 50
    with pytest.raises(SweepFailed, match="StorageUnavailable"):
        await log.timer()
    assert await log.timer() == 1


@pytest.mark.parametrize("text", BAD)
async def test_a_row_that_holds_no_event_stops_no_other_and_is_reported_in_each_run(text: str) -> None:
    log = AuditLog()
    await log.documents.append("tenants", "acme", OutboxRow("ID", text))
    await log.record("good")
    for _ in range(2):
        with pytest.raises(SweepFailed, match=r"1 failed\. tenants/acme/ID: RowsDamaged: The row holds no event"):
            await log.timer()
    assert [each["action"] for each in await log.chained()] == ["good"]


async def test_rows_beyond_a_page_are_chained_in_the_same_run_also_behind_faulty_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chain_events, "_PAGE", 10)
    log = AuditLog()
    for number in range(12):
        await log.documents.append("audit", "outbox", OutboxRow(str(number), "bad"))
    for number in range(35):
        await log.record(str(number), NOW + timedelta(seconds=number))
    with pytest.raises(SweepFailed, match="12 failed"):
        await log.timer()
    assert len(await log.chained()) == 35


async def test_a_run_ends_with_its_slice_and_the_next_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain_events, "_PAGE", 10)
    log = AuditLog()
    for number in range(25):
        await log.record(str(number), NOW + timedelta(seconds=number))
    log.faulty.before_submit = lambda: setattr(log.clock, "seconds", log.clock.seconds + 61)
    assert [await log.timer() for _ in range(3)] == [10, 10, 5]


async def test_a_table_that_cannot_be_listed_and_a_month_that_cannot_be_read_stop_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = AuditLog()
    await log.record("of october", NOW - timedelta(days=30))
    await log.timer()
    rows = log.store._tables["auditlog"]["2026-10"]  # type: ignore[attr-defined]
    rows["B"].fields["seq"] = "x"
    await log.record("of october", NOW - timedelta(days=29))
    await log.record("of november")
    pending = log.documents.pending

    async def without_tenants(table: str, limit: int) -> Sequence[object]:
        if table == "tenants":
            raise StorageUnavailable("gone")
        return await pending(table, limit)

    monkeypatch.setattr(log.documents, "pending", without_tenants)
    with pytest.raises(SweepFailed, match=r"2 failed\. .*the list of tenants.*the log of 2026-10: RowsDamaged"):
        await log.timer()
    assert [each["action"] for each in await log.chained()] == ["of november"]
    assert await log.findings("2026-10") == ["B: The head of the audit log of 2026-10 cannot be read."]


async def test_verification_names_each_change_of_a_stored_log() -> None:
    log = AuditLog()
    waiting = events(5)
    await log.log.append(PERIOD, waiting)
    rows = log.store._tables["auditlog"][PERIOD]  # type: ignore[attr-defined]
    whole = dict(rows)
    first, last = (f"E|{number:016}" for number in (1, 5))

    async def found(**changed: object) -> list[str]:
        rows.clear()
        rows.update(whole)
        for key, row in changed.items():
            if row is None:
                del rows[key]
            else:
                rows[key] = row
        return await log.findings()

    def edited(key: str, **fields: object) -> object:
        return type(whole[key])(key, {**whole[key].fields, **fields}, "1")

    assert await found() == []
    assert (await found(**{first: edited(first, event="{}")}))[0] == f"{first}: does not continue the chain"
    assert await found(**{first: edited(first, mac="0" * 64)}) == [
        f"{first}: has a mac that key version 0 did not make"
    ]
    assert "follows entry 0: entries between them are missing" in (await found(**{first: None}))[0]
    assert "B: the log ends at entry 4, and its head names 5" in await found(**{last: None})
    for headless in (None, edited("B", seq=0, head=genesis(PERIOD, "audit"))):
        assert f"{first}: comes after the head's last entry" in await found(B=headless)
    assert await found(B=edited("B", seq=4, head=whole["E|0000000000000004"].fields["hash"])) == [
        f"{last}: comes after the head's last entry"
    ]
    mark = f"U|{waiting[2].event_id}"
    assert await found(**{mark: None}) == ["E|0000000000000003: the row that makes its event unique is missing"]
    assert f"{mark}: marks an event as entry 2, which is not that entry's" in await found(**{mark: edited(mark, seq=2)})
    again = dict(whole["E|0000000000000002"].fields)
    del again["hash"], again["mac"]
    again["seq"] = 6
    head = log.chain.seal(str(whole["B"].fields["head"]), again)
    doubled = {
        "E|0000000000000006": type(whole[last])("E|0000000000000006", again, "1"),
        "B": edited("B", seq=6, head=head),
    }
    assert "E|0000000000000006: chains the event of entry 2 again" in await found(**doubled)


async def test_a_log_that_grows_while_it_is_verified_has_no_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    log = AuditLog()
    waiting = events(4)
    await log.log.append(PERIOD, waiting[:2])
    read = log.log.unique_ids

    def grow(period: str) -> AsyncIterator[tuple[str, int]]:
        async def marks() -> AsyncIterator[tuple[str, int]]:
            await log.log.append(period, waiting[2:])
            async for each in read(period):
                yield each

        return marks()

    monkeypatch.setattr(log.log, "unique_ids", grow)
    assert await log.findings() == []


async def test_without_the_chain_key_the_hashes_are_verified_and_the_key_is_named() -> None:
    log = AuditLog()
    await log.log.append(PERIOD, events(3))
    verified = await VerifyAuditLog(log.log, ChainVerifier({}), DocumentAuditPeriods(log.documents))(PERIOD)
    assert (verified.findings, verified.unknown_keys, verified.events) == ((), ("0",), 3)


async def test_a_key_that_signs_after_its_end_was_stolen() -> None:
    log = AuditLog()
    await log.log.append(PERIOD, events(3))  # one a second
    for end, found in (
        (timestamp(NOW + timedelta(seconds=1)), ["E|0000000000000002", "E|0000000000000003"]),
        (timestamp(NOW + timedelta(seconds=3)), []),
    ):
        verify = VerifyAuditLog(log.log, log.chain, DocumentAuditPeriods(log.documents), {"0": end})
        findings = (await verify(PERIOD)).findings
        assert [each.row for each in findings] == found
        assert {each.message for each in findings} <= {f"was signed by key version 0 after {end}, its end"}
    await log.log.append(PERIOD, [event_at(NOW)])  # its time is written by the thief
    verify = VerifyAuditLog(log.log, log.chain, DocumentAuditPeriods(log.documents), {"0": timestamp(NOW), "1": "x"})
    assert len((await verify(PERIOD)).findings) == 4


async def test_what_retention_has_deleted_is_not_missed_and_must_not_come_back() -> None:
    log = AuditLog()
    await log.log.append(PERIOD, events(4))
    head = await log.log.head(PERIOD)
    assert head is not None
    state = AuditPeriod(period=PERIOD, deleted_at=NOW, deleted_seq=head.seq, deleted_head=head.head)
    await DocumentAuditPeriods(log.documents).replace(state, told(after=state))
    await log.log.remove(PERIOD, 3)
    await log.log.append(PERIOD, [event_at(NOW)])
    found = (await log.verify()(PERIOD)).findings
    assert [each.row for each in found if "is there" in each.message] == ["E|0000000000000004"]
    await log.log.remove(PERIOD, 4)
    verified = await log.verify()(PERIOD)
    assert (verified.first, verified.events, verified.findings) == (5, 1, ())
