"""Put deliveries off after a failure, and give them up after the last one."""

from __future__ import annotations

import logging
from typing import Final

from shared.application.alerts.log_alert import KIND, SUBJECT
from shared.application.audit.record_audit import Actor
from shared.application.ports.alerts import AlertDeliveries, SinkFailed
from shared.application.ports.clock import Clock
from shared.application.structured_log import MESSAGE, log_event
from shared.domain.alerts.delivery import Delivery, GivenUp

_ACTOR: Final = Actor(name="timer:deliver_alerts")
SINK: Final = "gateway.alert.sink"


class EndDeliveries:
    """Decides about deliveries that failed. All methods raise `StorageUnavailable`."""

    def __init__(self, deliveries: AlertDeliveries, clock: Clock) -> None:
        self._deliveries = deliveries
        self._clock = clock

    async def failed(self, delivery: Delivery, failure: SinkFailed) -> None:
        """Put a delivery off until its next try, or give it up if there is none."""
        due = None if failure.is_final else delivery.retry_at(self._clock.now(), failure.retry_after_seconds)
        if due is None:
            await self.give_up(delivery, str(failure))
        else:
            await self._deliveries.postpone(delivery, due)

    async def give_up(self, delivery: Delivery, reason: str) -> None:
        """End a delivery for good: it is audited, logged, and kept for `revive`."""
        now, sink, event = self._clock.now(), delivery.sink_id.path, delivery.event
        dead = GivenUp(
            kind=event.kind,
            alert=event.event_id,
            subject=event.subject,
            attempts=delivery.attempts,
            cause=reason,
        )
        audit = _ACTOR.event(now, "alert.give_up", sink, after=dead)
        if await self._deliveries.give_up(delivery, now, reason, audit):
            fields = {SINK: sink, KIND: event.kind, SUBJECT: event.subject, MESSAGE: reason}
            log_event(logging.ERROR, "gateway.alert.dead", fields)
