"""One line for each event that somebody acts on, and no secret, prompt or answer in any output."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from shared import timers
from shared.adapters.tables.commit_recovery import result_of
from shared.adapters.tables.store import AnswerLost, PreconditionFailed, RowMissing, StoreError
from shared.application.ledger.watch_commits import WatchCommits
from shared.composition.start_log import masked
from tests.tools.stack import Stack
from tests.tools.traces import Kept

SECRET = "pl4nted-" + "secret-" * 4
PROMPT = "planted prompt about mergers"


@pytest.fixture(autouse=True)
def all_levels(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level(logging.INFO, "tallygate"):
        yield


def lines(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    found = [record.getMessage().partition(" ") for record in caplog.records]
    return [json.loads(fields) for name, _, fields in found if name == event]


async def test_a_healthy_request_has_no_line(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    await stack.chat()
    caplog.clear()
    for stream in (False, True):
        await stack.chat(stream=stream)
    await stack.settled()
    assert [record.getMessage() for record in caplog.records if record.name == "tallygate"] == []


@pytest.mark.parametrize("stack_settings", [{"AUDIT_WITNESS_URL": f"https://witness.example/{SECRET}"}], indirect=True)
async def test_the_start_has_a_line_with_the_settings_and_no_secret(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    (text,) = [each.getMessage() for each in caplog.get_records("setup") if "gateway.started" in each.getMessage()]
    started = json.loads(text.partition(" ")[2])
    shown = json.loads(started["gateway.settings"])
    assert (shown["TALLYGATE_STORAGE"], shown["ADMIN_API_KEY"], shown["PRIVACY_KEY_SECRET_NAME"]) == (
        "memory", "(set)", "",
    )  # fmt: skip
    assert SECRET not in text
    assert len(started["gateway.settings"]) < 8192


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("https://user:password@host/path?sig=secret#part", "https://host/path"),
        (".openai.azure.com,https://a@b/c", ".openai.azure.com,https://b/c"),
        ("https://[secret", "(not an address)"),
        (3, 3),
        (True, True),
        (None, "None"),
    ],
)
def test_an_address_shows_host_and_path_only(value: object, shown: object) -> None:
    assert masked(value) == shown


async def test_each_change_has_a_line_once_it_is_chained(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    await stack.manage("POST", f"/manage/tenants/{stack.tenant}/keys", {})
    await stack.chat(key="nobody")
    gateway = await stack.gateway()
    gateway.refusals.flush()
    await stack.settled()
    await gateway.audit.chain_events()
    await gateway.audit.chain_events()
    changed = [each["gateway.action"] for each in lines(caplog, "gateway.configuration.changed")]
    assert "tenant.register" in changed
    assert "access.denied" not in changed
    keys = lines(caplog, "gateway.key.changed")
    assert [each["gateway.action"] for each in keys] == ["key.create"] * 2
    assert keys[0]["gateway.subject"].startswith(f"{stack.tenant}/")
    assert len(keys[0]["gateway.request_id"]) == 32


async def test_a_failover_has_a_line(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    await stack.pool("swedencentral", "germanywestcentral")
    await stack.fault(kind="status", status=500)
    _, headers, _ = await stack.chat()
    (line,) = lines(caplog, "gateway.failover")
    assert line["gateway.request_id"] == headers["x-gateway-request-id"]
    assert line["gateway.to_backend"] == headers["x-gateway-backend"] != line["gateway.backend"]
    assert line["error.type"] == "upstream_500"


@pytest.mark.parametrize(
    ("error", "result"),
    [(AnswerLost(), "unknown"), (RowMissing(), "rejected"), (PreconditionFailed(), "conflict")],
)
def test_a_commit_that_fails_has_a_result(error: StoreError, result: str) -> None:
    assert result_of(error) == result


async def test_commits_are_measured(stack: Stack, kept: Kept) -> None:
    await stack.chat()
    await stack.settled()
    assert set(kept.distributions["gateway.ledger.commit.bucket"]) == {("committed",)}


def test_a_slow_commit_has_a_line(caplog: pytest.LogCaptureFixture) -> None:
    watch = WatchCommits(Kept())
    watch("acme", 0.5, "committed")
    watch("acme", 1.5, "unknown")
    assert lines(caplog, "gateway.ledger.slow_commit") == [
        {"gateway.tenant": "acme", "gateway.result": "unknown", "gateway.duration_ms": 1500}
    ]


@pytest.mark.parametrize("stack_settings", [{"TELEMETRY_SAMPLING_RATIO": "1"}], indirect=True)
async def test_no_output_has_a_secret_a_prompt_or_an_answer(
    stack: Stack, kept: Kept, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    hostile = {
        "x-gateway-user": "jane.doe@example.com",
        "x-ms-client-request-id": f"{SECRET} {PROMPT}",
        "user-agent": f"{SECRET}\tgateway.alert {{}}",
        "tracestate": SECRET,
        "traceparent": SECRET,
    }
    for fault in (None, {"kind": "status", "status": 500, "body": {"error": {"message": SECRET}}}, {"kind": "break"},
                  {"kind": "malformed"}):  # fmt: skip
        for stream in (False, True):
            if fault is not None:
                await stack.fault(**fault)
            _, _, answer = await stack.chat(PROMPT, stream=stream, headers=hostile, user=SECRET)
    await stack.chat(PROMPT, key=SECRET)
    await stack.chat(PROMPT, url=f"{stack.url}/openai/deployments/{SECRET}%0d%0aforged/chat/completions?api-version=x")
    await stack.settled()
    kept.fold()
    written = capfd.readouterr()
    records = [f"{record.getMessage()} {vars(record)}" for record in caplog.records]
    everything = "\n".join([
        written.out, written.err, *records, repr(kept.spans), repr(kept.sums), repr(kept.distributions),
    ])  # fmt: skip
    for planted in (SECRET, PROMPT, "jane.doe", stack.key, "forged"):
        assert planted not in everything
    assert answer


@pytest.mark.parametrize("stack_settings", [{"LOG_LEVEL": "ERROR"}], indirect=True)
async def test_the_level_of_lines_is_a_setting_but_for_lines_on_which_something_hangs(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"monthly_quota_tokens": 10_000})
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"alert_thresholds": [1]})
    await stack.pool("swedencentral", "germanywestcentral")
    await stack.fault(kind="status", status=500)
    await stack.chat(max_completion_tokens=500, text="word " * 200)
    await stack.settled()
    for timer in (timers.watch_budgets, timers.deliver_alerts, timers.describe_tenants):
        await timer(past_due=False)
    assert lines(caplog, "gateway.failover") == lines(caplog, "gateway.timer.finished") == []
    (alert,) = lines(caplog, "gateway.alert")
    assert (alert["gateway.alert.kind"], alert["gateway.alert.severity"]) == ("quota.threshold", "info")
    assert lines(caplog, "gateway.tenant.described") == [
        {"gateway.tenant": stack.tenant, "gateway.cost_center": "CC-1"}
    ]
