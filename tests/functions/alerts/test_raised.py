"""Alerts that requests and timers raise, through the whole gateway."""

from __future__ import annotations

from typing import Any

import pytest

from shared import timers
from tests.tools.stack import Stack
from tests.tools.watched_keys import stored_alerts


async def alerts_of(stack: Stack) -> list[dict[str, Any]]:
    await stack.settled()
    outbox: Any = (await stack.gateway()).alerts.outbox
    return await stored_alerts(outbox._documents)


@pytest.mark.parametrize("stack_settings", [{"PLATFORM_MONTHLY_BUDGET_USD": "0.000001"}], indirect=True)
async def test_budgets_are_watched(stack: Stack) -> None:
    settings = {"monthly_quota_tokens": 1000, "alert_thresholds": [1]}
    changed = await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", settings)
    assert changed["alert_thresholds"] == [1]
    await stack.chat(max_completion_tokens=20)
    await stack.settled()
    await timers.watch_budgets(past_due=False)
    found = {each["type"]: each for each in await alerts_of(stack)}
    assert {*found} == {"tallygate.quota.threshold", "tallygate.budget.threshold"}
    assert found["tallygate.quota.threshold"]["tenantid"] == stack.tenant
    assert "tenantid" not in found["tallygate.budget.threshold"]
    reset = await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"alert_thresholds": None})
    assert reset["alert_thresholds"] is None


async def test_a_tenant_that_is_stopped_by_a_limit_of_0_is_told_if_it_has_used_something(stack: Stack) -> None:
    await stack.register("unused")
    await stack.chat(max_completion_tokens=20)
    await stack.settled()
    for tenant in (stack.tenant, "unused"):
        await stack.manage("PATCH", f"/manage/tenants/{tenant}", {"monthly_quota_tokens": 0})
    assert (await stack.chat())[0] == 429
    await timers.watch_budgets(past_due=False)
    (found,) = await alerts_of(stack)
    assert (found["tenantid"], found["severity"], found["data"]["limit"]) == (stack.tenant, "error", "0")


@pytest.mark.parametrize("thresholds", [[0], [201], ["80"], [1] * 21])
async def test_thresholds_are_percentages(stack: Stack, thresholds: list[Any]) -> None:
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"alert_thresholds": thresholds}, status=400)


async def test_spending_is_watched_over_tables(stack_on_tables: Stack) -> None:
    stack = stack_on_tables
    await stack.chat()
    await stack.settled()
    await timers.watch_spending(past_due=False)
    await timers.roll_up_usage(past_due=False)
    await timers.watch_spending(past_due=True)


async def test_a_model_without_a_price_is_told_once_a_day(stack: Stack) -> None:
    await stack.manage("PUT", "/manage/backends/new", {
        "endpoint": f"{stack.simulator_url}/swedencentral", "upstream_deployment": "gpt-4o", "model": "gpt-9",
        "region": "swedencentral", "auth": "api_key",
    })  # fmt: skip
    await stack.manage("PUT", "/manage/deployments/gpt-4o", {"backends": ["new"]})
    for _ in range(2):
        assert (await stack.chat())[0] == 424
    (alert,) = await alerts_of(stack)
    assert (alert["type"], alert["severity"]) == ("tallygate.model.unpriced", "error")
    assert alert["subject"] == "deployments/gpt-4o"
    assert "gpt-9" in alert["data"]["message"]
    assert alert["data"]["asked_by"] == stack.tenant


async def test_a_backend_that_refuses_the_gateway_is_told(stack: Stack) -> None:
    await stack.fault(kind="status", status=401)
    assert (await stack.chat())[0] >= 500
    kinds = {each["type"].removeprefix("tallygate.") for each in await alerts_of(stack)}
    assert {"backend.misconfigured", "pool.down"} <= kinds


async def test_the_state_of_the_gateway_shows_what_waits(stack: Stack) -> None:
    assert (await stack.manage("GET", "/manage/status"))["outbox"] == []
