"""The heads of the audit log, for its anchors."""

from __future__ import annotations

from datetime import timedelta

import pytest

from shared.adapters.documents.audit_periods import DocumentUnchainedEvents
from shared.adapters.tables.store import AnswerLost, Insert
from shared.application.audit.audit_heads import AuditHeads
from shared.application.audit.read_audit_log import AuditFilter, ReadAuditLog
from shared.application.sweep import SweepFailed
from shared.domain.audit.anchor_files import ChainHead, unread_head
from tests.tools.audit_logs import AuditLog, event_at, events, listed
from tests.tools.ledgers import NOW, PERIOD


async def test_each_month_has_a_head_and_those_of_final_groups_are_left_out() -> None:
    log = AuditLog()
    assert await listed(AuditHeads(log.log).heads(frozenset())) == []
    await log.log.append(PERIOD, events(2))
    await log.log.append("2026-10", [event_at(NOW - timedelta(days=30))])
    await log.store.submit("auditlog", "2026-09", [Insert("U|x", {})], "of a month without a head")
    found = await listed(AuditHeads(log.log).heads(frozenset({"audit/2026-10"})))
    head = await log.log.head(PERIOD)
    assert head is not None
    assert found == [ChainHead(chain=f"audit/{PERIOD}", seq=2, head=head.head)]


async def test_a_head_that_cannot_be_read_hides_no_other() -> None:
    log = AuditLog()
    await log.log.append(PERIOD, events(1))
    await log.log.append("2026-10", [event_at(NOW - timedelta(days=30))])
    log.faulty.on_get = [AnswerLost()]
    found: list[ChainHead] = []

    async def gather() -> None:
        async for head in AuditHeads(log.log).heads(frozenset()):
            found.append(head)  # noqa: PERF401 - those before the error count

    with pytest.raises(SweepFailed, match="audit/2026-10: StorageUnavailable"):
        await gather()
    assert [found[0], found[1].chain] == [unread_head("audit/2026-10"), f"audit/{PERIOD}"]


async def test_a_log_without_events_has_an_empty_page() -> None:
    log = AuditLog()
    page = await ReadAuditLog(log.log, DocumentUnchainedEvents(log.documents), log.clock).page(AuditFilter(), None, 9)
    assert (page.events, page.next_cursor) == ([], None)
