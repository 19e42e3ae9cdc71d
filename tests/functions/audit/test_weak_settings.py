"""A setting that takes away a protection is an event, and so is its end."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr

from shared import timers
from shared.adapters.documents.audit_periods import DocumentProtections
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.application.audit.record_protections import RecordProtections
from shared.application.sweep import SweepFailed
from shared.composition.weak_settings import WEAK_SETTINGS, weak_settings
from shared.domain.errors import StorageUnavailable, VersionConflict
from shared.settings import Settings
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
        "AUDIT_WITNESS_CONTAINER_URL", "TALLYGATE_STORAGE",
    ]  # fmt: skip


def stated(**others: Any) -> Settings:
    key = SecretStr("0123456789abcdef0123456789abcdef")
    return Settings(tallygate_storage="memory", audit_chain_key=key, **others)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ALERT_ALLOW_PRIVATE_ADDRESSES", "true"),
        ("ALERT_EVENT_GRID_HOST_SUFFIXES", ".example.com"),
        ("ALERT_HOST_SUFFIXES", ".example.com"),
        ("ALLOWED_AUTHORITIES", "https://login.example.com"),
        ("ALLOWED_TOKEN_SCOPES", "https://example.com/.default"),
        ("ALLOW_LOOPBACK_BACKENDS", "true"),
        ("AUDIT_RETENTION_MONTHS", "12"),
        ("BACKEND_HOST_SUFFIXES", ".example.com"),
        ("ENTRA_LEGACY_AUDIENCES", "https://ai.azure.com"),
        ("KEY_VAULT_HOST_SUFFIXES", ".example.com"),
        ("USE_MANAGED_IDENTITY", "false"),
    ],
)
def test_a_setting_that_opens_something_is_weak(name: str, text: str) -> None:
    assert {*weak_settings(stated(**{name.lower(): text}))} - {*weak_settings(stated())} == {name}


def test_all_settings_that_open_something_are_known() -> None:
    opening = {name for name in Settings.model_fields if "allow_" in name or name.endswith("host_suffixes")}
    assert {name.upper() for name in opening} <= WEAK_SETTINGS.keys()


@pytest.mark.parametrize(
    "setting",
    [
        {"audit_witness_container_url": "https://other.blob.core.windows.net/witness"},
        {"audit_witness_url": "https://witness.example.com/hook"},
        {"audit_witness_url_secret_name": "witness", "azure_key_vault_url": "https://v.vault.azure.net"},
    ],
)
def test_anchors_without_a_witness_are_weak(setting: dict[str, str]) -> None:
    assert "AUDIT_WITNESS_CONTAINER_URL" not in weak_settings(stated(**setting))
    assert "AUDIT_WITNESS_CONTAINER_URL" in weak_settings(stated())


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
