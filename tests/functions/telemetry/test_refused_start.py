"""A process whose settings are refused tells so to its monitor, once."""

from __future__ import annotations

import logging
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from local.emulators.ingestion import Ingestion
from shared.composition import process, refused_start
from shared.setting_problems import SettingsInvalid
from tests.functions.telemetry.test_export import KEY, serving
from tests.tools.stack import CHAIN_KEY, Stack, bare_stack, eventually

PLANTED = "planted-secret-of-somebody-0123456789"
WRONG = {
    "TALLYGATE_STORAGE": "memory",
    "AUDIT_CHAIN_KEY": PLANTED[:7],
    "MAX_ATTEMPTS": PLANTED,
    "ADMIN_API_KEY": "short",
}


@pytest.fixture
def ingestion() -> Ingestion:
    return Ingestion()


@pytest.fixture
async def url(ingestion: Ingestion) -> AsyncIterator[str]:
    async with serving(ingestion) as url:
        yield url


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Set an environment whose settings of telemetry are right, and others wrong."""
    for name, text in {**WRONG, "APPLICATIONINSIGHTS_CONNECTION_STRING": f"{KEY};IngestionEndpoint={url}/"}.items():
        monkeypatch.setenv(name, text)


@pytest.fixture(autouse=True)
async def nothing_told() -> None:
    """Forget what other tests of this process have told, and let their exporters end."""
    await is_over()
    refused_start._told.clear()


def refusals(ingestion: Ingestion) -> list[dict[str, Any]]:
    lines = [each["properties"] for each in ingestion.of_kind("MessageData")]
    return [each for each in lines if each.get("event.name") == "gateway.misconfigured"]


async def is_over() -> None:
    await eventually(lambda: all(each.name != "telemetry" for each in threading.enumerate()))


async def test_the_line_of_refused_settings_reaches_application_insights(refused: None, ingestion: Ingestion) -> None:
    handlers = list(logging.getLogger("tallygate").handlers)
    process.check_settings()
    await is_over()
    (line,) = refusals(ingestion)
    assert "MAX_ATTEMPTS" in line["error.message"]
    assert "AUDIT_CHAIN_KEY" in line["error.message"]
    assert PLANTED not in str(ingestion.envelopes)
    assert {each["data"]["baseType"] for each in ingestion.envelopes} == {"MessageData"}
    assert logging.getLogger("tallygate").handlers == handlers


async def test_requests_and_timers_of_a_refused_process_tell_nothing_again(
    refused: None, ingestion: Ingestion, caplog: pytest.LogCaptureFixture
) -> None:
    process.check_settings()
    for _ in range(20):
        with pytest.raises(SettingsInvalid):
            await process.current_gateway()
    await is_over()
    assert len(refusals(ingestion)) == 1
    assert caplog.text.count("gateway.misconfigured") == 1


async def test_other_problems_are_told_anew(
    refused: None, ingestion: Ingestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    process.check_settings()
    monkeypatch.setenv("MAX_ATTEMPTS", "2")
    process.check_settings()
    process.check_settings()
    await is_over()
    messages = [each["error.message"] for each in refusals(ingestion)]
    assert sorted("MAX_ATTEMPTS" in each for each in messages) == [False, True]


async def test_the_line_reaches_a_collector_of_otlp(
    refused: None, url: str, ingestion: Ingestion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APPLICATIONINSIGHTS_CONNECTION_STRING", "")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    process.check_settings()
    await is_over()
    assert b"gateway.misconfigured" in b"".join(ingestion.otlp["logs"])
    assert PLANTED.encode() not in b"".join(ingestion.otlp["logs"])


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("TELEMETRY_SAMPLING_RATIO", "2"),
        ("AZURE_CLIENT_ID", "@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/client)"),
        ("APPLICATIONINSIGHTS_CONNECTION_STRING", "IngestionEndpoint=http://127.0.0.1:9/"),
        ("APPLICATIONINSIGHTS_CONNECTION_STRING", ""),
    ],
)
async def test_nothing_is_exported_by_wrong_or_missing_settings_of_telemetry(
    refused: None, ingestion: Ingestion, monkeypatch: pytest.MonkeyPatch, name: str, text: str, caplog: Any
) -> None:
    monkeypatch.setenv(name, text)
    process.check_settings()
    assert all(each.name != "telemetry" for each in threading.enumerate())
    assert ingestion.requests == 0
    assert caplog.text.count("gateway.misconfigured") == 1


async def test_a_first_backend_that_is_refused_while_the_gateway_is_built_is_told(
    url: str, ingestion: Ingestion, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = {
        "TALLYGATE_STORAGE": "memory",
        "APPLICATIONINSIGHTS_CONNECTION_STRING": f"{KEY};IngestionEndpoint={url}/",
        "AZURE_OPENAI_ENDPOINT": "https://example.com",
    }
    async with bare_stack(monkeypatch, tmp_path, settings) as stack:
        for _ in range(3):
            assert await answered(stack) == 503
    await is_over()
    assert len(refusals(ingestion)) == 1


async def answered(stack: Stack) -> int:
    async with stack.session.get(f"{stack.url}/readyz") as response:
        return response.status


async def test_a_silent_monitor_holds_nothing_up(refused: None, ingestion: Ingestion) -> None:
    ingestion.mode = "stall"
    process.check_settings()
    with pytest.raises(SettingsInvalid):
        await process.current_gateway()
    ingestion.mode = "answer"
    ingestion.released.set()
    await is_over()


async def test_settings_that_are_right_tell_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TALLYGATE_STORAGE", "memory")
    monkeypatch.setenv("AUDIT_CHAIN_KEY", CHAIN_KEY)
    process.check_settings()
    assert "gateway.misconfigured" not in caplog.text
