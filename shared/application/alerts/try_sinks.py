"""Send a test alert to sinks at once, and tell which of them took it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from shared.application.alerts.log_alert import log_alert
from shared.application.alerts.manage_sinks import ManageSinks
from shared.application.audit.record_audit import Actor, RecordAudit
from shared.application.ports.alerts import AlertSender, SinkFailed
from shared.application.ports.clock import Clock
from shared.domain.alerts.alert import Alert, AlertKind
from shared.domain.alerts.event import AlertEvent
from shared.domain.alerts.sink import AlertSink
from shared.domain.errors import NotFound
from shared.domain.identifiers import rid_at
from shared.domain.values import record

_AT_ONCE: Final = 8


@record
class SinkTrial:
    """The result of one test. The reason is empty if the sink took the alert."""

    sink: AlertSink
    reason: str
    duration_ms: int


class TrySinks:
    """The use case of `POST /manage/alerts/test`. Nothing is stored in the outbox, and nothing is tried again."""

    def __init__(
        self,
        sinks: ManageSinks,
        sender: AlertSender,
        event_of: Callable[[Alert], AlertEvent],
        record_audit: RecordAudit,
        clock: Clock,
    ) -> None:
        """`event_of` makes the event of an alert as the outbox stores it."""
        self._sinks = sinks
        self._sender = sender
        self._event_of = event_of
        self._record_audit = record_audit
        self._clock = clock

    async def __call__(self, tenant_id: str, name: str, actor: Actor) -> list[SinkTrial]:
        """Send one alert to a sink of an owner, or to all that are enabled if `name` is empty.

        Writes `gateway.alert` first, so that e-mail is tested, too. Raises `NotFound` and `StorageUnavailable`.
        """
        sinks = [each.sink for each in await self._sinks.list(tenant_id)]
        chosen = [sink for sink in sinks if (sink.name == name if name else sink.enabled)]
        if name and not chosen:
            raise NotFound(f"No sink '{name}' is configured.")
        alert = self._alert(tenant_id, actor)
        await self._record_audit(actor, "alerts.test", alert.subject)
        log_alert(alert)
        turns = asyncio.Semaphore(_AT_ONCE)

        async def test(sink: AlertSink) -> SinkTrial:
            async with turns:
                return await self._test(sink, self._event_of(alert))

        return await asyncio.gather(*map(test, chosen))

    async def _test(self, sink: AlertSink, event: AlertEvent) -> SinkTrial:
        began, reason = self._clock.monotonic(), ""
        try:
            await self._sender.send(sink, [event])
        except SinkFailed as failure:
            reason = str(failure)
        return SinkTrial(sink=sink, reason=reason, duration_ms=round(1000 * (self._clock.monotonic() - began)))

    def _alert(self, tenant_id: str, actor: Actor) -> Alert:
        now = self._clock.now()
        alert = Alert(
            kind=AlertKind.ALERTS_TEST,
            event_id=f"test:{rid_at(now)}",
            at=now,
            subject="alerts/test",
            data={"actor": actor.name, "message": "This is a test. Nobody has to act."},
        )
        return replace(alert, tenant_id=tenant_id, subject=f"tenants/{tenant_id}/alerts/test") if tenant_id else alert
