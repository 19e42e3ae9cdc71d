"""Raise an alert where hash chains cannot be continued or anchored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Final

from shared.application.alerts.log_alert import log_alert
from shared.application.alerts.store_alert import StoreAlert
from shared.application.audit.anchor_heads import ChainDamaged
from shared.application.audit.anchor_log import AnchorsDamaged
from shared.application.health.run_timer import RunTimer
from shared.application.ports.clock import Clock
from shared.application.ports.health import States
from shared.application.sweep import SweepFailed
from shared.domain.alerts.alert import Alert, AlertKind
from shared.domain.alerts.severity import AlertSeverity
from shared.domain.errors import RowsDamaged, StorageUnavailable
from shared.domain.health.timer_run import TimerRun

_KINDS: Final = {"anchor_audit": AlertKind.ANCHORS_FAILED, "chain_audit": AlertKind.CHAIN_FAILED}
_DAMAGE: Final = (AnchorsDamaged, ChainDamaged, RowsDamaged)
_LONG: Final = timedelta(minutes=30)
"""The time for which storage or a signing key may be away before somebody is told."""
_MAX_MESSAGE: Final = 1000


class TellFailedChains:
    """Runs timers. Raises an alert a day if one of those that keep the hash chains fails.

    Damage is told at once, and everything else once no run has succeeded for half an hour.
    """

    def __init__(self, run_timer: RunTimer, runs: States[TimerRun], store_alert: StoreAlert, clock: Clock) -> None:
        self._run_timer = run_timer
        self._runs = runs
        self._store_alert = store_alert
        self._clock = clock
        self._failing_since: dict[str, datetime] = {}

    async def __call__(self, timer: str, work: Callable[[], Awaitable[Mapping[str, int]]], *, past_due: bool) -> None:
        """Run a timer's work. Raises its errors, so that the host sees them."""
        try:
            await self._run_timer(timer, work, past_due=past_due)
        except Exception as error:
            if timer in _KINDS:
                await self._tell(timer, error)
            raise
        self._failing_since.pop(timer, None)

    async def _tell(self, timer: str, error: Exception) -> None:
        now = self._clock.now()
        is_damaged = any(isinstance(each, _DAMAGE) for each in _causes(error))
        if not is_damaged and now - await self._last_success(timer, now) < _LONG:
            return
        alert = Alert(
            kind=_KINDS[timer],
            event_id=f"{timer}:{'damaged' if is_damaged else 'unavailable'}:{now:%Y-%m-%d}",
            at=now,
            subject=f"timers/{timer}",
            stated_severity=AlertSeverity.CRITICAL if is_damaged else None,
            data={"timer": timer, "error": type(error).__name__, "message": str(error)[:_MAX_MESSAGE]},
        )
        try:
            await self._store_alert(alert)
        except StorageUnavailable:
            log_alert(alert)  # mail hangs on this line, and needs no storage

    async def _last_success(self, timer: str, now: datetime) -> datetime:
        """Return the time since which the timer fails, as far as this process and storage know."""
        since = self._failing_since.setdefault(timer, now)
        try:
            run = await self._runs.get(timer)
        except StorageUnavailable:
            return since
        return (run and (run.succeeded_at or run.first_at)) or since


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, and those of the items of a sweep."""
    yield error
    if isinstance(error, SweepFailed):
        for _, cause in error.failures:
            yield from _causes(cause)
