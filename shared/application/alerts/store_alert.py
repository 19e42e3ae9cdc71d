"""Store an alert in the outbox, and write its line for the log."""

from __future__ import annotations

import logging
from typing import Final

from shared.application.ports.alerts import AlertOutbox
from shared.application.structured_log import TENANT, log_event
from shared.domain.alerts.alert import Alert
from shared.domain.alerts.severity import AlertSeverity

KIND: Final = "gateway.alert.kind"
SUBJECT: Final = "gateway.alert.subject"
SEVERITY: Final = "gateway.alert.severity"
_LEVELS: Final = {
    AlertSeverity.INFO: logging.INFO,
    AlertSeverity.WARNING: logging.WARNING,
    AlertSeverity.ERROR: logging.ERROR,
    AlertSeverity.CRITICAL: logging.CRITICAL,
}


class StoreAlert:
    """Stores an alert at once, for timers and other work that can wait for it. Requests use `RaiseAlert`."""

    def __init__(self, outbox: AlertOutbox) -> None:
        self._outbox = outbox

    async def __call__(self, alert: Alert) -> bool:
        """Store an alert. Returns false if one of its kind and id was stored before, which changes nothing.

        The process that stored it writes `gateway.alert`, on which e-mail hangs. Idempotent. Raises
        `StorageUnavailable`.
        """
        is_new = await self._outbox.add(alert)
        if is_new:
            log_alert(alert)
        return is_new


def log_alert(alert: Alert) -> None:
    """Write the line of an alert, at the level of its severity."""
    fields = {KIND: alert.kind.value, SUBJECT: alert.subject, SEVERITY: alert.severity.value}
    if alert.tenant_id:
        fields[TENANT] = alert.tenant_id
    log_event(_LEVELS[alert.severity], "gateway.alert", fields)
