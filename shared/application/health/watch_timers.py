"""Tell which timer functions are late."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from shared.application.ports.clock import Clock
from shared.application.ports.health import Schedules, States
from shared.domain.health.schedules import GRACE, SCHEDULES
from shared.domain.health.timer_run import TimerRun, TimerState


class WatchTimers:
    """Compares the noted runs of all timers with their schedules.

    - A timer that has never run counts from the first noted run of any timer, or from the start of this process.
    - A success that is noted in the future, by a clock that was ahead, is none. Clocks may differ by the grace.
    """

    def __init__(self, runs: States[TimerRun], schedules: Schedules, clock: Clock) -> None:
        self._runs = runs
        self._schedules = schedules
        self._clock = clock
        self._started_at = clock.now()

    async def __call__(self) -> list[TimerState]:
        """Return the state of each timer, in the order of `SCHEDULES`. Raises `StorageUnavailable`."""
        runs = await self._runs.all()
        since = min([self._started_at, *(run.first_at for run in runs.values() if run.first_at)])
        return [self._state(timer, runs, since) for timer in SCHEDULES]

    def _state(self, timer: str, runs: Mapping[str, TimerRun], since: datetime) -> TimerState:
        run, now = runs.get(timer), self._clock.now()
        succeeded_at = run.succeeded_at if run else None
        if succeeded_at is not None and succeeded_at > now + GRACE:
            succeeded_at = None
        due = self._schedules.last_due(SCHEDULES[timer], now - GRACE)
        return TimerState(
            timer=timer,
            schedule=SCHEDULES[timer],
            run=run,
            age_seconds=None if succeeded_at is None else (now - succeeded_at).total_seconds(),
            is_late=(succeeded_at or since) < due,
        )
