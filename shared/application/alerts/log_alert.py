"""The line of an alert in the log, on which e-mail hangs."""

from __future__ import annotations

import logging
from typing import Final

from shared.application.structured_log import TENANT, log_event
from shared.domain.alerts.alert import Alert
from shared.domain.alerts.event import AlertEvent
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


def log_alert(alert: Alert | AlertEvent) -> None:
    """Write the line of an alert, at the level of its severity."""
    fields = {KIND: str(alert.kind), SUBJECT: alert.subject, SEVERITY: alert.severity.value}
    if alert.tenant_id:
        fields[TENANT] = alert.tenant_id
    log_event(_LEVELS[alert.severity], "gateway.alert", fields)
