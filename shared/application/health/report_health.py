"""Tell the state of the gateway every five minutes, to operators and to telemetry."""

from __future__ import annotations

from shared.application.alerts.store_alert import StoreAlert
from shared.application.health.publish_gauges import PublishGauges
from shared.application.health.tell_instance import TellInstance
from shared.application.health.watch_timers import WatchTimers
from shared.application.ports.clock import Clock
from shared.domain.alerts.alert import Alert, AlertKind
from shared.domain.health.timer_run import TimerState


class ReportHealth:
    """The use case of the timer `report_health`."""

    def __init__(
        self,
        watch_timers: WatchTimers,
        publish_gauges: PublishGauges,
        tell_instance: TellInstance,
        store_alert: StoreAlert,
        clock: Clock,
    ) -> None:
        self._watch_timers = watch_timers
        self._publish_gauges = publish_gauges
        self._tell_instance = tell_instance
        self._store_alert = store_alert
        self._clock = clock

    async def __call__(self) -> int:
        """Raise an alert for each timer that is late, once a day, and set all gauges. Returns the number of late ones.

        Raises `StorageUnavailable` if the timers cannot be read, and `SweepFailed` for gauges that could not be set.
        """
        timers = await self._watch_timers()
        late = [each for each in timers if each.is_late]
        for timer in late:
            await self._store_alert(self._alert(timer))
        await self._tell_instance()
        await self._tell_instance.forget_old()
        await self._publish_gauges(timers)
        return len(late)

    def _alert(self, timer: TimerState) -> Alert:
        now = self._clock.now()
        age = "never" if timer.age_seconds is None else f"{timer.age_seconds:.0f} s ago"
        return Alert(
            kind=AlertKind.TIMER_LATE,
            event_id=f"{timer.timer}:{now:%Y-%m-%d}",
            at=now,
            subject=f"timers/{timer.timer}",
            data={
                "timer": timer.timer,
                "schedule": timer.schedule,
                "succeeded": age,
                "failures": str(timer.run.failures if timer.run else 0),
                "error": timer.run.error if timer.run else "",
            },
        )
