"""A timer is late if a run was due for longer than the grace, and none has succeeded since."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.adapters.documents.alerts import DocumentAlerts
from shared.adapters.documents.health import DocumentStates
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.adapters.schedules import CronSchedules
from shared.application.alerts.store_alert import StoreAlert
from shared.application.health.parts import timers_check
from shared.application.health.report_health import ReportHealth
from shared.application.health.show_status import anchors_age
from shared.application.health.tell_instance import TellInstance
from shared.application.health.watch_timers import WatchTimers
from shared.domain.health.instance import Instance
from shared.domain.health.readiness import PartState
from shared.domain.health.schedules import SCHEDULES
from shared.domain.health.timer_run import TimerRun, TimerState
from tests.tools.ledgers import ManualClock
from tests.tools.stack import indexed_functions

START = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)


def run(timer: str, at: datetime, **fields: object) -> TimerRun:
    facts = {"timer": timer, "instance": "i", "started_at": at, "seconds": 1.0, **fields}
    return TimerRun(**facts).after(None)  # type: ignore[arg-type]


class NoGauges:
    """Gauges that nobody reads."""

    async def __call__(self, timers: Sequence[TimerState]) -> None:
        return


class World:
    """Noted runs, and a clock that a test moves."""

    def __init__(self) -> None:
        self.clock = ManualClock(moment=START)
        self.documents = InMemoryDocuments()
        self.runs = DocumentStates(self.documents, "timers", TimerRun)
        self.watch = WatchTimers(self.runs, CronSchedules(), self.clock)

    async def late(self) -> list[str]:
        return [each.timer for each in await self.watch() if each.is_late]


def test_the_schedules_are_those_of_the_app() -> None:
    _, timers = indexed_functions()
    assert {each.name: each.schedule for each in timers} == SCHEDULES


async def test_nothing_is_late_when_the_gateway_is_new() -> None:
    world = World()
    assert await world.late() == []
    world.clock.seconds += 14 * 60
    assert await world.late() == []


async def test_timers_that_never_ran_are_late_after_their_grace() -> None:
    world = World()
    world.clock.seconds += 30 * 60
    late = await world.late()
    assert {"expire_reservations", "roll_up_usage", "anchor_audit"} <= {*late}
    assert not {"reset_monthly_quotas", "export_chargeback", "verify_books"} & {*late}


async def test_a_process_that_has_just_started_counts_from_the_first_run_of_any_timer() -> None:
    world = World()
    await world.runs.note("level_lanes", run("level_lanes", START - timedelta(days=1)))
    late = await world.late()
    assert {"expire_reservations", "level_lanes", "export_chargeback"} <= {*late}
    assert "reset_monthly_quotas" not in late


async def test_a_monthly_timer_is_late_within_the_month() -> None:
    world = World()
    await world.runs.note("reset_monthly_quotas", run("reset_monthly_quotas", datetime(2026, 2, 28, 23, tzinfo=UTC)))
    assert "reset_monthly_quotas" in await world.late()
    await world.runs.note("reset_monthly_quotas", run("reset_monthly_quotas", datetime(2026, 3, 1, 23, tzinfo=UTC)))
    assert "reset_monthly_quotas" not in await world.late()


async def test_runs_that_fail_make_a_timer_late() -> None:
    world = World()
    first = run("level_lanes", START)
    failed = TimerRun(timer="level_lanes", instance="i", started_at=START, seconds=1.0, error="LedgerUnavailable")
    await world.runs.note("level_lanes", failed.after(first))
    world.clock.seconds += 20 * 60
    state = next(each for each in await world.watch() if each.timer == "level_lanes")
    assert (state.is_late, state.age_seconds, state.run and state.run.failures) == (True, 1200.0, 1)
    assert await timers_check(world.watch)() is PartState.FAILED


async def test_timers_that_run_are_not_late() -> None:
    world = World()
    for timer in SCHEDULES:
        await world.runs.note(timer, run(timer, START))
    assert await world.late() == []
    assert await timers_check(world.watch)() is PartState.OK


def test_anchors_are_as_old_as_the_last_run_that_wrote_one() -> None:
    def state(noted: TimerRun | None, age: float | None) -> TimerState:
        return TimerState(timer="anchor_audit", schedule="", run=noted, age_seconds=age, is_late=False)

    wrote, off = run("anchor_audit", START, counts={"leaves": 3}), run("anchor_audit", START)
    assert [anchors_age([each]) for each in (state(None, None), state(off, 5.0), state(wrote, 5.0))] == [
        None,
        None,
        5.0,
    ]


async def test_an_alert_a_day_tells_of_each_late_timer() -> None:
    world = World()
    instances = DocumentStates(world.documents, "instances", Instance)
    tell = TellInstance(instances, world.clock, "i-1", "1")
    gauges: Any = NoGauges()
    report = ReportHealth(world.watch, gauges, tell, StoreAlert(DocumentAlerts(world.documents)), world.clock)
    failed = TimerRun(timer="level_lanes", instance="i", started_at=START, seconds=1.0, error="LedgerUnavailable")
    await world.runs.note("level_lanes", failed.after(run("level_lanes", START)))
    assert await report() == 0
    world.clock.seconds += 40 * 60
    assert await report() == await report() > 1
    raised = await world.documents.list("alerts")
    assert len({each.key for each in raised}) == len(raised) == await report()
    (told,) = [each.text for each in raised if "level_lanes" in each.text]
    assert '"error":"LedgerUnavailable"' in told
    assert '"succeeded":"2400 s ago"' in told
    assert any('"succeeded":"never"' in each.text for each in raised)
    world.clock.seconds += 24 * 3600
    await report()
    assert len(await world.documents.list("alerts")) >= 2 * len(raised)


async def test_a_success_in_the_future_does_not_hide_that_a_timer_is_late() -> None:
    world = World()
    await world.runs.note("roll_up_usage", run("roll_up_usage", START - timedelta(hours=1)))
    await world.runs.note("level_lanes", run("level_lanes", START + timedelta(days=300)))
    await world.runs.note("expire_reservations", run("expire_reservations", START + timedelta(minutes=1)))
    late = await world.late()
    assert "level_lanes" in late
    assert "expire_reservations" not in late
    assert {each.timer: each.age_seconds for each in await world.watch()}["level_lanes"] is None


def test_anchors_get_older_while_anchoring_fails() -> None:
    wrote = run("anchor_audit", START, counts={"leaves": 3})
    failed = TimerRun(timer="anchor_audit", instance="i", started_at=START, seconds=1.0, error="AnchorsDamaged")
    state = TimerState(timer="anchor_audit", schedule="", run=failed.after(wrote), age_seconds=900.0, is_late=True)
    assert anchors_age([state]) == 900.0


@pytest.mark.parametrize("field", ["started_at", "succeeded_at", "first_at"])
async def test_a_note_whose_times_have_no_zone_stops_no_report(field: str) -> None:
    world = World()
    for _ in range(2):
        await world.runs.note("level_lanes", run("level_lanes", START))
        edited = (await world.documents.list("health"))[0].text.replace(
            f'"{field}":"2026-03-10T12:00:00Z"', f'"{field}":"2026-03-10T12:00:00"'
        )
        await world.documents.put("health", "timers", "level_lanes", edited)
    assert await world.runs.all() == {}
    assert await world.late() == []
