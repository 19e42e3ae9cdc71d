"""The state of the whole gateway, for operators."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from shared.application.billing.manage_periods import ManagePeriods
from shared.application.health.check_readiness import CheckReadiness
from shared.application.health.find_problems import FindProblems, Problem, problem_of
from shared.application.health.tell_instance import TellInstance
from shared.application.health.watch_timers import WatchTimers
from shared.application.ports.clock import Clock
from shared.application.ports.health import States
from shared.domain.billing.period_status import PeriodState, PeriodStatus
from shared.domain.health.instance import Instance
from shared.domain.health.readiness import PartStates
from shared.domain.health.timer_run import TimerState
from shared.domain.health.verification import Verification
from shared.domain.values import record


@record
class GatewayStatus:
    """The state of the gateway over all its processes. `parts` are those of the process that answers."""

    at: datetime
    parts: PartStates
    instances: Sequence[Instance]
    timers: Sequence[TimerState]
    anchors_age_seconds: float | None
    """The time since the last anchor; `None` if nothing was ever anchored."""
    verifications: Sequence[Verification]
    problems: Sequence[Problem]
    periods_due: Sequence[PeriodStatus]
    """The periods that are over with their grace, and whose statements are not written."""


class ShowStatus:
    """The use case of `GET /manage/status`."""

    def __init__(
        self,
        readiness: CheckReadiness,
        tell_instance: TellInstance,
        instances: States[Instance],
        watch_timers: WatchTimers,
        verifications: States[Verification],
        find_problems: FindProblems,
        periods: ManagePeriods,
        clock: Clock,
    ) -> None:
        self._readiness = readiness
        self._tell_instance = tell_instance
        self._instances = instances
        self._watch_timers = watch_timers
        self._verifications = verifications
        self._find_problems = find_problems
        self._periods = periods
        self._clock = clock

    async def __call__(self) -> GatewayStatus:
        """Return the state of the gateway. Raises `StorageUnavailable`."""
        await self._tell_instance()
        timers = await self._watch_timers()
        instances, verifications = await self._instances.all(), await self._verifications.all()
        listed = await self._periods.list()
        return GatewayStatus(
            at=self._clock.now(),
            parts=await self._readiness(),
            instances=sorted(instances.values(), key=lambda each: each.name),
            timers=timers,
            anchors_age_seconds=anchors_age(timers),
            verifications=sorted(verifications.values(), key=lambda each: (each.period, each.name)),
            problems=[*await self._find_problems(), *map(problem_of, listed.damaged)],
            periods_due=[each for each in listed.periods if self._is_due(each)],
        )

    def _is_due(self, period: PeriodStatus) -> bool:
        return period.state is not PeriodState.EXPORTED and period.closable_from < self._clock.now()


def anchors_age(timers: Sequence[TimerState]) -> float | None:
    """Return the seconds since the last anchor: the last successful run of `anchor_audit`.

    `None` if nothing was ever anchored, or no key signs. A run that fails has no counts; the last anchor gets older.
    """
    anchoring = next(each for each in timers if each.timer == "anchor_audit")
    wrote_or_failed = anchoring.run is not None and (anchoring.run.counts or anchoring.run.error)
    return anchoring.age_seconds if wrote_or_failed else None
