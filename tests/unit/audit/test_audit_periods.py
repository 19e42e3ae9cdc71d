"""Retention and legal holds: what dies, comes twice or comes at the same time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from shared.adapters.documents.audit_periods import DocumentAuditPeriods, DocumentUnchainedEvents
from shared.adapters.documents.jobs import DocumentCursors
from shared.adapters.tables.store import AnswerLost
from shared.application.audit.manage_audit_periods import ManageAuditPeriods
from shared.application.audit.record_audit import Actor
from shared.application.sweep import SweepFailed
from shared.domain.identifiers import BillingPeriod
from tests.tools.audit_logs import AuditLog, event_at, listed
from tests.tools.ledgers import NOW

OCTOBER, SEPTEMBER, AUGUST = (BillingPeriod(2026, month) for month in (10, 9, 8))
ANN = Actor(name="ann", reason="case 1")


def managed(log: AuditLog, months: int = 1) -> ManageAuditPeriods:
    periods, cursors = DocumentAuditPeriods(log.documents), DocumentCursors(log.documents)
    unchained = DocumentUnchainedEvents(log.documents)
    return ManageAuditPeriods(log.log, unchained, periods, cursors, log.clock, months)


async def log_of(*periods: BillingPeriod) -> AuditLog:
    log = AuditLog()
    for period in periods:
        await log.log.append(str(period), [event_at(period.start, text) for text in "abc"])
    return log


async def remaining(log: AuditLog, period: BillingPeriod) -> int:
    return len(await listed(log.log.entries(str(period), 1, 99)))


async def actions(log: AuditLog) -> list[str]:
    await log.timer()
    return [each["action"] for each in await log.chained()]


async def test_nothing_is_deleted_without_a_retention() -> None:
    log = await log_of(AUGUST)
    assert await managed(log, months=0).expire() == 0
    assert await remaining(log, AUGUST) == 3


async def test_a_month_is_deleted_once_and_its_event_comes_first() -> None:
    log = await log_of(OCTOBER, SEPTEMBER)
    for deleted in (3, 0, 0):
        assert await managed(log).expire() == deleted
    assert [await remaining(log, period) for period in (OCTOBER, SEPTEMBER)] == [3, 0]
    assert await actions(log) == ["audit.delete"]


async def test_events_of_earlier_versions_are_deleted_with_their_month() -> None:
    log = await log_of(SEPTEMBER)
    for month in ("202607", "202609", "202610"):
        for name in "ab":
            await log.documents.insert("audit", month, f"event-{name}", "{}")
    await managed(log).hold(BillingPeriod(2026, 7), ANN)
    unchained = DocumentUnchainedEvents(log.documents)
    assert [await managed(log).expire(), await unchained.periods("2027-01")] == [5, ["2026-07", "2026-10"]]
    await managed(log).release(BillingPeriod(2026, 7), ANN)
    assert [await managed(log).expire(), await unchained.periods("2027-01")] == [2, ["2026-10"]]
    assert await managed(log).expire() == 0
    assert sorted(await actions(log)) == ["audit.delete", "audit.delete", "audit.hold", "audit.release"]
    assert await log.findings("2026-07") == []


async def test_a_deletion_is_told_again_before_the_month_that_tells_it_is_deleted() -> None:
    log = await log_of(SEPTEMBER)
    await log.documents.insert("audit", "202608", "event-a", "{}")
    await managed(log).expire()
    assert await actions(log) == ["audit.delete", "audit.delete"]
    log.clock.moment = datetime(2027, 1, 5, tzinfo=UTC)
    await managed(log).expire()
    await log.timer()
    again = [each for each in await log.chained("2027-01") if each["target"] == "2026-09"]
    assert [(each["after"]["deleted_seq"], each["before"]["told_at"]) for each in again] == [(3, None)]
    assert again[0]["after"]["told_at"] == "2027-01-05T00:00:00Z"
    log.clock.moment = datetime(2027, 2, 5, tzinfo=UTC)
    await managed(log).expire()
    assert await remaining(log, BillingPeriod(2027, 1)) > 0
    await log.timer()
    assert [each for each in await log.chained("2027-02") if each["target"] == "2026-09"] == []


async def test_a_late_event_of_a_month_without_a_chain_is_deleted_by_a_later_run() -> None:
    log = await log_of()
    await log.documents.insert("audit", "202609", "event", "{}")
    assert await managed(log).expire() == 1
    await log.log.append("2026-09", [event_at(SEPTEMBER.start, "late")])
    assert await log.findings("2026-09") == []
    log.clock.seconds = 3600 * 24 * 30
    assert await managed(log).expire() == 1
    assert await log.findings("2026-09") == []


async def test_a_deletion_that_was_cut_off_is_finished_without_a_second_event() -> None:
    log = await log_of(SEPTEMBER, AUGUST)
    log.faulty.on_submit = [AnswerLost()]
    with pytest.raises(SweepFailed, match="the log of 2026-08"):
        await managed(log).expire()
    assert [await remaining(log, period) for period in (SEPTEMBER, AUGUST)] == [0, 3]
    assert await managed(log).expire() == 3
    assert await actions(log) == ["audit.delete", "audit.delete"]
    assert await log.findings("2026-08") == []


async def test_an_event_that_comes_after_the_deletion_is_deleted_by_a_later_run() -> None:
    log = await log_of(SEPTEMBER)
    await managed(log).expire()
    await log.log.append("2026-09", [event_at(SEPTEMBER.start, "late")])
    assert await log.findings("2026-09") == []
    assert await managed(log, months=0).expire() == 0
    log.clock.seconds = 3600 * 24 * 30
    assert await managed(log).expire() == 1
    assert await log.findings("2026-09") == []


async def test_a_hold_that_comes_at_the_moment_of_the_deletion_wins_or_comes_too_late(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    log = await log_of(SEPTEMBER)
    periods = managed(log)
    store: Any = periods._periods
    replace_state = store.replace

    async def hold_first(*arguments: Any) -> None:
        monkeypatch.setattr(store, "replace", replace_state)
        await periods.hold(SEPTEMBER, ANN)
        await replace_state(*arguments)

    monkeypatch.setattr(store, "replace", hold_first)
    assert await periods.expire() == 0
    assert await remaining(log, SEPTEMBER) == 3
    await periods.release(SEPTEMBER, ANN)
    assert await periods.expire() == 3
    held = await periods.hold(SEPTEMBER, ANN)
    assert (held.hold_by, held.hold_reason, held.deleted_seq) == ("ann", "case 1", 3)


@pytest.mark.parametrize("is_held", [True, False])
async def test_of_two_changes_of_a_hold_at_once_one_is_made(is_held: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    log = await log_of()
    periods = managed(log)
    if is_held:
        await periods.hold(OCTOBER, ANN)
    store: Any = periods._periods
    replace_state = store.replace
    change = periods.release if is_held else periods.hold

    async def another_first(*arguments: Any) -> None:
        monkeypatch.setattr(store, "replace", replace_state)
        await change(OCTOBER, Actor(name="bob"))
        await replace_state(*arguments)

    monkeypatch.setattr(store, "replace", another_first)
    state = await change(OCTOBER, ANN)
    assert state.hold_by == ("" if is_held else "bob")
    assert (await actions(log)).count("audit.release" if is_held else "audit.hold") == 1


async def test_a_month_that_has_marks_and_no_head_is_not_deleted() -> None:
    log = await log_of(SEPTEMBER)
    del log.store._tables["auditlog"]["2026-09"]["B"]  # type: ignore[attr-defined]
    assert await managed(log).expire() == 0
    assert await remaining(log, SEPTEMBER) == 3
    assert NOW.month == 11
