"""Put alerts into the outbox, in the background and in a bounded number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from shared.application.alerts.store_alert import StoreAlert
from shared.application.background import Background
from shared.application.ports.clock import Clock
from shared.domain.alerts.alert import Alert, AlertKind
from shared.domain.errors import StorageUnavailable

_MAX_EACH: Final = 20


class RaiseAlert:
    """Stores each alert once. Callers can cause any number of them, so each process stores at most 20 an hour.

    That is for each tenant, and for each kind about the platform. The first one beyond is stored as
    `alerts.suppressed`. No request waits for a write. Timers use `StoreAlert`, which waits and has no bound.
    """

    def __init__(self, store: StoreAlert, clock: Clock, background: Background) -> None:
        self._store_alert = store
        self._clock = clock
        self._background = background
        self._hour = ""
        self._raised: dict[str, set[tuple[AlertKind, str]]] = {}
        """By tenant, or by kind: the alerts of this hour that are stored, or about to be."""

    def __call__(
        self, kind: AlertKind, tenant_id: str, name: str, subject: str, data: Mapping[str, str], *, daily: bool = False
    ) -> None:
        """Raise an alert about a tenant. The same `name` is stored once in an hour, or once in a day."""
        suppressed = {"tenant_id": tenant_id}
        self._raise(tenant_id, kind, tenant_id, name, subject, data, suppressed, daily=daily)

    def of_platform(
        self, kind: AlertKind, name: str, subject: str, data: Mapping[str, str], *, daily: bool = False
    ) -> None:
        """Raise an alert about the platform, which only its operators get. The same `name` is stored once, as above."""
        suppressed = {"kind": kind.value}
        self._raise(f".{kind}", kind, "", name, subject, data, suppressed, daily=daily)

    def _raise(
        self,
        group: str,
        kind: AlertKind,
        tenant_id: str,
        name: str,
        subject: str,
        data: Mapping[str, str],
        suppressed: Mapping[str, str],
        *,
        daily: bool,
    ) -> None:
        """Store an alert of a group that is counted together."""
        now = self._clock.now()
        raised = self._raised_in(f"{now:%Y-%m-%dT%H}").setdefault(group, set())
        event_id = f"{name}:{now:%Y-%m-%d}" if daily else f"{name}:{now:%Y-%m-%dT%H}"
        if (kind, event_id) in raised:
            return
        if len(raised) >= _MAX_EACH:
            kind, event_id, data = AlertKind.ALERTS_SUPPRESSED, f"{group}:{self._hour}", suppressed
            subject = f"tenants/{tenant_id}" if tenant_id else "platform"
            if (kind, event_id) in raised:
                return
        alert = Alert(kind=kind, event_id=event_id, at=now, subject=subject, tenant_id=tenant_id, data=data)
        raised.add((alert.kind, alert.event_id))
        self._background.start(self._store(alert, raised))

    def _raised_in(self, hour: str) -> dict[str, set[tuple[AlertKind, str]]]:
        if hour != self._hour:
            self._hour, self._raised = hour, {}
        return self._raised

    async def _store(self, alert: Alert, raised: set[tuple[AlertKind, str]]) -> None:
        """Store an alert. If storage cannot be reached, the next event of its name tries again."""
        try:
            await self._store_alert(alert)
        except StorageUnavailable:
            raised.discard((alert.kind, alert.event_id))
