"""Sinks: the places to which alerts are delivered."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from shared.domain.alerts.event import AlertEvent
from shared.domain.alerts.severity import AlertSeverity
from shared.domain.identifiers import timestamp
from shared.domain.values import record, value


class SinkType(StrEnum):
    """The protocols that sinks speak."""

    EVENT_GRID = "event_grid"
    """A topic of Azure Event Grid, which takes events of CloudEvents 1.0 by the gateway's identity."""
    WEBHOOK = "webhook"
    """An address that gets each event of CloudEvents 1.0, signed as Standard Webhooks has it."""
    TEAMS = "teams"
    """A workflow of Microsoft Teams, which gets an adaptive card."""
    SLACK = "slack"
    """An incoming webhook of Slack."""


@value
class SinkId:
    """The owner and the name of a sink. The platform's own sinks have an empty tenant."""

    tenant_id: str
    name: str

    @property
    def path(self) -> str:
        """The path of the sink, as log lines, audit events and alerts have it."""
        return f"tenants/{self.tenant_id}/alerts/sinks/{self.name}" if self.tenant_id else f"alerts/sinks/{self.name}"


@record
class AlertSink:
    """One place to which alerts are delivered, and the alerts that it wants."""

    name: str
    type: SinkType
    tenant_id: str = ""
    """The tenant that owns it and whose alerts it gets. The platform's sinks get those of all tenants, too."""
    endpoint: str = ""
    """The topic of Event Grid. The addresses of other sinks are secrets."""
    address_secret: str = ""
    """The name of the secret that holds the address."""
    signing_secret: str = ""
    """The name of the secret that signs the requests to a webhook."""
    kinds: tuple[str, ...] = ()
    """The kinds that it wants; empty for all."""
    minimum_severity: AlertSeverity = AlertSeverity.INFO
    enabled: bool = True
    created_at: datetime | None = None
    """When it was first put. `None` for sinks of the settings, and for those that earlier versions stored."""

    @property
    def sink_id(self) -> SinkId:
        """The owner and the name."""
        return SinkId(self.tenant_id, self.name)

    def gets_events_of(self, at: str) -> bool:
        """Tell whether events of a time are for it, and not for another that had its name before."""
        return self.created_at is None or at >= timestamp(self.created_at)

    def wants(self, event: AlertEvent) -> bool:
        """Tell whether an event is to be delivered to it."""
        is_for_it = self.tenant_id in ("", event.tenant_id) and self.gets_events_of(event.at)
        is_chosen = not self.kinds or event.kind in self.kinds
        return self.enabled and is_for_it and is_chosen and event.severity.reaches(self.minimum_severity)
