"""`GET /readyz` and `GET /manage/status`, and the timers that report and verify."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from shared import timers
from shared.application.sweep import SweepFailed
from shared.composition import adapters
from shared.domain.health.schedules import SCHEDULES
from shared.domain.identifiers import BillingPeriod, timestamp
from shared.domain.ledger.amounts import Limit
from shared.domain.ledger.balance import Account
from shared.settings import Settings
from shared.version import VERSION
from tests.tools.ledgers import FaultyStore
from tests.tools.stack import Stack, bare_stack, running_azurite
from tests.tools.traces import Kept

CHECKS = {
    "configuration": "ok", "ledger": "ok", "identity": "unused", "vault": "unused", "backends": "ok", "timers": "ok"
}  # fmt: skip


@pytest.fixture
def kept(monkeypatch: pytest.MonkeyPatch) -> Kept:
    """Keep what the gateway measures, in place of exporting it."""
    measured = Kept()

    def open_kept(_: Settings, __: AsyncExitStack) -> Kept:
        return measured

    monkeypatch.setattr(adapters, "open_telemetry", open_kept)
    return measured


async def anchored() -> Mapping[str, int]:
    return {"leaves": 1}


async def ready(stack: Stack) -> tuple[int, dict[str, Any]]:
    async with stack.session.get(f"{stack.url}/readyz") as response:
        return response.status, await response.json()


async def status(stack: Stack) -> dict[str, Any]:
    found: dict[str, Any] = await stack.manage("GET", "/manage/status")
    return found


async def test_a_process_whose_parts_work_is_ready(stack: Stack) -> None:
    assert await ready(stack) == (200, {"status": "ready", "checks": CHECKS})


@pytest.mark.parametrize("stack_settings", [{"AZURE_OPENAI_API_KEY": "wrong"}], indirect=True)
async def test_a_dead_backend_takes_no_process_out(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    assert await ready(stack) == (200, {"status": "degraded", "checks": {**CHECKS, "backends": "failed"}})
    assert "gateway.degraded" in caplog.text


async def test_a_ledger_that_cannot_be_read_takes_the_process_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with running_azurite(tmp_path) as account:
        pass
    async with bare_stack(monkeypatch, tmp_path, account.settings) as stack:
        code, answer = await ready(stack)
    failed = {"configuration": "failed", "ledger": "failed", "backends": "failed", "timers": "failed"}
    assert (code, answer) == (503, {"status": "not_ready", "checks": {**CHECKS, **failed}})
    assert "gateway.not_ready" in caplog.text


async def test_the_status_of_a_new_gateway(stack: Stack) -> None:
    found = await status(stack)
    assert (found["version"], found["status"], found["checks"]) == (VERSION, "ready", CHECKS)
    assert [each["name"] for each in found["instances"]] == [found["instance"]]
    assert {each["timer"]: each["schedule"] for each in found["timers"]} == SCHEDULES
    assert found["timers"][0] == {
        "timer": "reset_monthly_quotas", "schedule": SCHEDULES["reset_monthly_quotas"], "is_late": False,
        "age_seconds": None, "started_at": None, "succeeded_at": None, "duration_seconds": None, "instance": None,
        "counts": {}, "failures": 0, "error": None,
    }  # fmt: skip
    assert (found["anchors"], found["verifications"], found["problems"]) == ({"age_seconds": None}, [], [])
    assert found["periods_due"] == []


async def test_the_status_tells_the_last_run_of_a_timer(stack: Stack) -> None:
    await stack.chat()
    await timers.roll_up_usage(past_due=False)
    found = {each["timer"]: each for each in (await status(stack))["timers"]}["roll_up_usage"]
    assert (found["counts"], found["failures"], found["error"]) == ({"entries_rolled_up": 1}, 0, None)
    assert found["succeeded_at"] == found["started_at"] <= timestamp((await stack.gateway()).clock.now())


async def test_the_status_names_what_is_unpriced_drained_or_down(stack: Stack) -> None:
    await stack.backend("eastus", model="gpt-unpriced")
    await stack.backend("japaneast", weight=0)
    await stack.manage("PUT", "/manage/deployments/new", {"backends": ["eastus"]})
    await stack.manage("PUT", "/manage/deployments/gpt-4o-mini", {"backends": ["se-gpt-4o-mini", "japaneast"]})
    gateway = await stack.gateway()
    problems = {each["object"]: each["message"] for each in (await status(stack))["problems"]}
    assert problems == {"backends/eastus": "no price of its model 'gpt-unpriced' is known"}
    await stack.fault(kind="status", status=500, count=None)
    for _ in range(12):
        await stack.chat()
    await gateway.background.drain()
    problems = {each["object"]: each["message"] for each in (await status(stack))["problems"]}
    assert problems["backends/se-gpt-4o"].startswith("is down: ")
    assert problems["deployments/gpt-4o"] == "all its backends are down"


async def test_a_period_that_is_due_and_not_exported_is_named(stack: Stack) -> None:
    gateway = await stack.gateway()
    due = BillingPeriod.containing(gateway.clock.now() - timedelta(days=80))
    await gateway.ledger.books.open(Account(tenant_id=stack.tenant, period=str(due), limit=Limit()))
    (period,) = (await status(stack))["periods_due"]
    assert (period["period"], period["state"]) == (str(due), "closing")


async def test_the_gauges_of_telemetry_follow_the_state(kept: Kept, stack: Stack) -> None:
    await stack.chat()
    await timers.expire_reservations(past_due=False)
    await timers.verify_books(past_due=False)
    await timers.report_health(past_due=False)
    gauges = kept.gauges
    assert gauges["gateway.backends.unavailable"][("gpt-4o",)] == 0
    assert 0 <= gauges["gateway.timer.age_seconds"][("expire_reservations",)] < 60
    assert ("roll_up_usage",) not in gauges["gateway.timer.age_seconds"]
    assert (gauges["gateway.reservations.open"], gauges["gateway.verification.findings"]) == ({(): 0}, {(): 0})
    assert gauges["gateway.anchors.age_seconds"] == {}
    await (await stack.gateway()).health.run_timer("anchor_audit", anchored, past_due=False)
    await timers.report_health(past_due=False)
    assert 0 <= gauges["gateway.anchors.age_seconds"][()] < 60


async def test_a_gauge_that_cannot_be_read_hides_no_other(kept: Kept, stack: Stack) -> None:
    gateway = await stack.gateway()
    books: Any = gateway.ledger.books
    store, books._store = books._store, FaultyStore(books._store, is_down=True)
    await timers.anchor_audit(past_due=False)
    with pytest.raises(SweepFailed, match="reservations"):
        await timers.report_health(past_due=False)
    books._store = store
    assert kept.gauges["gateway.verification.findings"] == {(): 0}


async def test_late_timers_are_reported(stack: Stack) -> None:
    await timers.report_health(past_due=False)
    found = {each["timer"]: each for each in (await status(stack))["timers"]}["report_health"]
    assert found["counts"] == {"timers_late": 0}
