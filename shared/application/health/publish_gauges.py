"""Tell telemetry the state of the gateway. Only a timer does, so that one process tells it."""

from __future__ import annotations

from collections.abc import Sequence

from shared.application.health.find_problems import FindProblems
from shared.application.health.show_status import anchors_age
from shared.application.ledger.swept_lanes import lane_name, lanes_of
from shared.application.ports.clock import Clock
from shared.application.ports.health import States
from shared.application.ports.ledger import Ledger
from shared.application.ports.telemetry import Telemetry
from shared.application.sweep import Failures, SweepFailed
from shared.domain.errors import RowsDamaged
from shared.domain.health.timer_run import TimerState
from shared.domain.health.verification import Verification
from shared.domain.identifiers import BillingPeriod
from shared.domain.telemetry.instruments import (
    ANCHORS_AGE,
    BACKENDS_UNAVAILABLE,
    RESERVATIONS_OPEN,
    TIMER_AGE,
    VERIFICATION_FINDINGS,
)


class PublishGauges:
    """Sets the gauges of timers, anchors, backends, verifications and reservations."""

    def __init__(
        self,
        telemetry: Telemetry,
        find_problems: FindProblems,
        verifications: States[Verification],
        ledger: Ledger,
        clock: Clock,
    ) -> None:
        self._telemetry = telemetry
        self._find_problems = find_problems
        self._verifications = verifications
        self._ledger = ledger
        self._clock = clock

    async def __call__(self, timers: Sequence[TimerState]) -> None:
        """Set all gauges. Raises `SweepFailed` for those that could not be read, after all others are set."""
        failures = Failures()
        self._set_ages(timers)
        with failures.collected("backends"):
            for deployment, count in (await self._find_problems.unavailable()).items():
                self._telemetry.set(BACKENDS_UNAVAILABLE, count, deployment)
        with failures.collected("verifications"):
            found = sum(each.finding_count for each in (await self._verifications.all()).values())
            self._telemetry.set(VERIFICATION_FINDINGS, found)
        with failures.collected("reservations"):
            await self._set_open_reservations()
        failures.raise_any()

    def _set_ages(self, timers: Sequence[TimerState]) -> None:
        for timer in timers:
            if timer.age_seconds is not None:
                self._telemetry.set(TIMER_AGE, timer.age_seconds, timer.timer)
        anchored = anchors_age(timers)
        if anchored is not None:
            self._telemetry.set(ANCHORS_AGE, anchored)

    async def _set_open_reservations(self) -> None:
        """Count the open reservations of this month and the one before, which has some until its grace is over.

        Raises `SweepFailed` for lanes that cannot be read, after the others are counted.
        """
        current, found, failures = BillingPeriod.containing(self._clock.now()), 0, Failures()
        try:
            async for lane in lanes_of(self._ledger, current.previous(), current):
                try:
                    balance = await self._ledger.balance(lane)
                except RowsDamaged as error:
                    failures.add(lane_name(lane), error)
                else:
                    found += balance.open_reservations if balance else 0
        except SweepFailed as failed:
            if not all(isinstance(error, RowsDamaged) for _, error in failed.failures):
                raise
            failures.add("the list", failed)
        self._telemetry.set(RESERVATIONS_OPEN, found)
        failures.raise_any()
