"""Run a timer function, tell its result in one line, and note it for `GET /manage/status`."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Final

from shared.application.ports.clock import Clock
from shared.application.ports.health import States
from shared.application.ports.telemetry import Telemetry
from shared.application.structured_log import fields_of, log_event
from shared.domain.errors import StorageUnavailable
from shared.domain.health.timer_run import TimerRun

TIMER: Final = "gateway.timer"
PAST_DUE: Final = "gateway.timer.past_due"
DURATION_MS: Final = "gateway.timer.duration_ms"
_COUNT: Final = "gateway.timer.count."
REPAIRS: Final = frozenset(
    {"reservations_expired", "transfers_completed", "limits_corrected", "grants_finished", "events_deleted"}
)
"""The counts that tell of a process that died, or of something that was deleted. Lines with one are warnings."""


class RunTimer:
    """Runs the work of timer functions, on any instance. Exports telemetry after each, because the instance may end."""

    def __init__(self, runs: States[TimerRun], clock: Clock, instance: str, telemetry: Telemetry) -> None:
        self._runs = runs
        self._clock = clock
        self._instance = instance
        self._telemetry = telemetry

    async def __call__(self, timer: str, work: Callable[[], Awaitable[Mapping[str, int]]], *, past_due: bool) -> None:
        """Run a timer's work, which returns counts by name. Raises its errors, so that the host sees them."""
        started_at, began = self._clock.now(), self._clock.monotonic()
        counts: Mapping[str, int] = {}
        failure: Exception | None = None
        try:
            counts = await work()
        except Exception as error:  # noqa: BLE001 - raised again, after it is noted
            failure = error
        seconds = round(self._clock.monotonic() - began, 3)
        fields: Mapping[str, str | int] = {
            TIMER: timer,
            PAST_DUE: str(past_due).lower(),
            DURATION_MS: round(seconds * 1000),
        }
        _tell(fields, counts, failure)
        await self._note(timer, started_at, seconds, counts, failure)
        await self._telemetry.flush()
        if failure is not None:
            raise failure

    async def _note(
        self, timer: str, started_at: datetime, seconds: float, counts: Mapping[str, int], failure: Exception | None
    ) -> None:
        """Note a run. If storage cannot be reached, the timer has failed by itself, or the next run is noted."""
        run = TimerRun(
            timer=timer,
            instance=self._instance,
            started_at=started_at,
            seconds=seconds,
            counts=counts,
            error=type(failure).__name__ if failure else "",
        )
        try:
            await self._runs.note(timer, run.after(await self._runs.get(timer)))
        except StorageUnavailable as error:
            log_event(logging.WARNING, "gateway.timer.not_noted", {TIMER: timer, **fields_of(error)})


def _tell(fields: Mapping[str, str | int], counts: Mapping[str, int], failure: Exception | None) -> None:
    counted = {f"{_COUNT}{name}": count for name, count in counts.items()}
    if failure is not None:
        log_event(logging.ERROR, "gateway.timer.failed", {**fields, **fields_of(failure)})
        return
    is_repair = any(counts.get(name) for name in REPAIRS)
    log_event(logging.WARNING if is_repair else logging.INFO, "gateway.timer.finished", {**fields, **counted})
