"""Stored events: alerts as they wait in the outbox, those of earlier and later versions, too."""

from __future__ import annotations

from collections.abc import Mapping

from shared.domain.alerts.severity import AlertSeverity
from shared.domain.values import record


@record
class AlertEvent:
    """One stored alert. Its kind is a text, because a later version may have stored it."""

    kind: str
    event_id: str
    severity: AlertSeverity
    tenant_id: str
    """Empty for an event of the platform."""
    at: str
    subject: str
    data: Mapping[str, str]
    document: str
    """The event of CloudEvents 1.0, as JSON."""

    @property
    def name(self) -> str:
        """Its name in the outbox and at every sink: unique among the events of all kinds."""
        return f"{self.kind}:{self.event_id}"
