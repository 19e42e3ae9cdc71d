"""Delete alerts and deliveries whose time is over."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from shared.application.ports.alerts import AlertDeliveries, AlertOutbox
from shared.application.ports.clock import Clock

_DELIVERIES: Final = timedelta(days=30)
"""The time for which deliveries that ended are kept: to send nothing twice, and to revive what was given up."""
_MOST: Final = 5000
"""The most rows of each kind that one run deletes."""


class ForgetAlerts:
    """Deletes events after `days`, and deliveries of all sinks after 30 days. Idempotent."""

    def __init__(self, outbox: AlertOutbox, deliveries: AlertDeliveries, clock: Clock, days: int) -> None:
        self._outbox = outbox
        self._deliveries = deliveries
        self._clock = clock
        self._age = timedelta(days=days)

    async def __call__(self) -> int:
        """Delete at most 5,000 of each. Returns their number. Raises `StorageUnavailable`."""
        now = self._clock.now()
        ended = await self._deliveries.forget(now - _DELIVERIES, _MOST)
        return ended + await self._outbox.forget(now - self._age, _MOST)
