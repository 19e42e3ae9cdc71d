"""Put alerts about a tenant into the outbox, in the background and in a bounded number."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from shared.application.background import Background
from shared.application.ports.alerts import AlertOutbox
from shared.application.ports.clock import Clock
from shared.domain.alerts.alert import Alert, AlertKind
from shared.domain.errors import StorageUnavailable

_MAX_PER_TENANT: Final = 20


class RaiseAlert:
    """Stores each alert once. Callers can cause any number of them, so a tenant gets at most 20 an hour and process.

    The first one beyond that is stored as `alerts.suppressed`. No request waits for a write.
    """

    def __init__(self, outbox: AlertOutbox, clock: Clock, background: Background) -> None:
        self._outbox = outbox
        self._clock = clock
        self._background = background
        self._hour = ""
        self._raised: dict[str, set[tuple[AlertKind, str]]] = {}
        """By tenant: the alerts of this hour that are stored, or about to be."""

    def __call__(
        self, kind: AlertKind, tenant_id: str, name: str, subject: str, data: Mapping[str, str], *, daily: bool = False
    ) -> None:
        """Raise an alert. The same `name` is stored once in an hour, or once in a day."""
        now = self._clock.now()
        raised = self._raised_in(f"{now:%Y-%m-%dT%H}").setdefault(tenant_id, set())
        event_id = f"{name}:{now:%Y-%m-%d}" if daily else f"{name}:{now:%Y-%m-%dT%H}"
        if (kind, event_id) in raised:
            return
        if len(raised) < _MAX_PER_TENANT:
            alert = Alert(kind=kind, event_id=event_id, at=now, subject=subject, data=data)
        else:
            alert = _suppressed(tenant_id, self._hour, now)
            if (alert.kind, alert.event_id) in raised:
                return
        raised.add((alert.kind, alert.event_id))
        self._background.start(self._store(alert, raised))

    def _raised_in(self, hour: str) -> dict[str, set[tuple[AlertKind, str]]]:
        if hour != self._hour:
            self._hour, self._raised = hour, {}
        return self._raised

    async def _store(self, alert: Alert, raised: set[tuple[AlertKind, str]]) -> None:
        """Store an alert. If storage cannot be reached, the next event of its name tries again."""
        try:
            await self._outbox.add(alert)
        except StorageUnavailable:
            raised.discard((alert.kind, alert.event_id))


def _suppressed(tenant_id: str, hour: str, now: datetime) -> Alert:
    return Alert(
        kind=AlertKind.ALERTS_SUPPRESSED,
        event_id=f"{tenant_id}:{hour}",
        at=now,
        subject=f"tenants/{tenant_id}",
        data={"tenant_id": tenant_id},
    )
