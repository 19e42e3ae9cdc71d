"""Timers that stand still and backends that refuse the gateway are shown to operators, and take no process out."""

from __future__ import annotations

import json

import pytest

from shared import timers
from shared.domain.health.schedules import SCHEDULES
from tests.tools.alert_causes import Calendar
from tests.tools.stack import ADMIN_KEY, CHAIN_KEY, PRIVACY_KEY, SIMULATOR_KEY, Stack


async def test_a_timer_that_stands_still_is_late_and_degrades_the_process(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    calendar = Calendar(monkeypatch)
    await timers.expire_reservations(past_due=False)
    calendar.wait(hours=2)
    await timers.roll_up_usage(past_due=False)
    found = {each["timer"]: each for each in (await stack.manage("GET", "/manage/status"))["timers"]}
    assert found.keys() == SCHEDULES.keys()
    assert (found["expire_reservations"]["is_late"], found["roll_up_usage"]["is_late"]) == (True, False)
    assert 7200 <= found["expire_reservations"]["age_seconds"] < 7300
    async with stack.session.get(f"{stack.url}/readyz") as response:
        answer = await response.json()
        assert (response.status, answer["status"], answer["checks"]["timers"]) == (200, "degraded", "failed")


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_a_backend_that_refuses_the_gateway_is_named_with_the_status(stack: Stack, status: int) -> None:
    await stack.fault(kind="status", status=status, body={"error": {"code": "DeploymentNotFound"}})
    assert (await stack.chat())[0] >= 400
    await stack.settled()
    problems = {each["object"]: each["message"] for each in (await stack.manage("GET", "/manage/status"))["problems"]}
    assert problems["backends/se-gpt-4o"] == f"is down: status {status}"


async def test_neither_page_of_health_has_a_secret(stack: Stack) -> None:
    await stack.fault(kind="status", status=401, body={"error": {"message": SIMULATOR_KEY}})
    await stack.chat()
    await timers.report_health(past_due=False)
    texts = [json.dumps(await stack.manage("GET", "/manage/status"))]
    for path in ("healthz", "readyz"):
        async with stack.session.get(f"{stack.url}/{path}") as response:
            texts.append(await response.text())
    for secret in (ADMIN_KEY, CHAIN_KEY, PRIVACY_KEY, SIMULATOR_KEY, stack.key):
        assert not any(secret in text for text in texts)
    assert not any(name in texts[2] for name in (stack.tenant, "se-gpt-4o", "swedencentral"))
