"""A setting that takes away a protection is an event, and so is its end."""

from __future__ import annotations

from typing import Any

import pytest

from shared import timers
from shared.adapters.documents.audit_periods import DocumentProtections
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.application.audit.record_protections import RecordProtections
from shared.application.sweep import SweepFailed
from shared.domain.errors import StorageUnavailable, VersionConflict
from tests.functions.audit.test_audit_log import logged
from tests.tools.events import waiting
from tests.tools.ledgers import ManualClock
from tests.tools.stack import Stack


async def test_weak_settings_are_recorded_once(stack: Stack) -> None:
    await logged(stack)
    (event,) = await logged(stack, "&action=settings")
    assert (event["actor"], event["action"], event["before"]) == ("settings", "settings.protections", None)
    assert event["after"]["weak_settings"] == [
        "ADMIN_API_KEY", "ALLOW_LOOPBACK_BACKENDS", "AUDIT_SIGNING_KEY_NAME", "AZURE_OPENAI_API_KEY",
        "TALLYGATE_STORAGE",
    ]  # fmt: skip


async def test_each_change_of_weak_settings_is_an_event_and_the_loss_of_a_protection_is_named() -> None:
    documents, clock = InMemoryDocuments(), ManualClock()

    async def start(*weak: str) -> None:
        clock.seconds += 60
        await RecordProtections(DocumentProtections(documents), clock, weak)()

    await start()
    for weak in (("A",), ("A",), ("A", "B"), ("B",), ()):
        await start(*weak)
    events = await waiting(documents)
    assert [each["after"]["weak_settings"] for each in events] == [["A"], ["A", "B"], ["B"], []]
    assert [each.get("weakens") for each in events] == [None, ["weak_settings"], None, None]


async def test_of_two_processes_that_start_at_once_one_records_the_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = DocumentProtections(InMemoryDocuments())

    async def too_late(*_: object) -> None:
        raise VersionConflict

    monkeypatch.setattr(stored, "replace", too_late)
    await RecordProtections(stored, ManualClock(), ("A",))()


async def test_settings_that_cannot_be_recorded_stop_no_event(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    audit: Any = (await stack.gateway()).audit

    async def gone() -> None:
        raise StorageUnavailable("gone")

    monkeypatch.setattr(audit.record_protections._stored, "get", gone)
    with pytest.raises(SweepFailed, match="the settings: StorageUnavailable: gone"):
        await timers.chain_audit(past_due=False)
    assert (await stack.manage("GET", "/manage/audit/verify"))["events"] > 0
