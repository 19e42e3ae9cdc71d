"""Alerts: events that people are to be told of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from shared.domain.alerts.severity import AlertSeverity
from shared.domain.values import record


class AlertKind(StrEnum):
    """The kinds of alerts. A kind is a partition of the outbox, and the type of its events."""

    KEY_ADDRESS_REFUSED = "key.address_refused"
    """A valid key was used from an address outside its ranges, or outside those of its tenant."""
    TOKEN_ADDRESS_REFUSED = "token.address_refused"
    """A valid access token was used from an address outside the ranges of its tenant."""
    KEY_USED_AFTER_END = "key.used_after_end"
    """A key was used after it was revoked or had expired."""
    ALERTS_SUPPRESSED = "alerts.suppressed"
    """A tenant had more alerts in an hour than are stored, or the platform had so many of one kind."""
    BUDGET_THRESHOLD = "budget.threshold"
    """A part of the period's dollars is used."""
    QUOTA_THRESHOLD = "quota.threshold"
    """A part of the period's tokens is used."""
    FORECAST_EXCEEDS_LIMIT = "forecast.exceeds_limit"
    """At the present pace the period's tokens or dollars will not last."""
    KEY_EXPIRES_SOON = "key.expires_soon"
    """A gateway key expires within 30, 7 or 1 days."""
    BACKEND_MISCONFIGURED = "backend.misconfigured"
    """A backend refuses the gateway itself: its identity, its deployment or its api-version."""
    REGION_DOWN = "region.down"
    """Every backend of a region is unavailable."""
    POOL_DOWN = "pool.down"
    """Every backend of a deployment is unavailable."""
    MODEL_UNPRICED = "model.unpriced"
    """A request was refused, because its model has no price."""
    PERIOD_CLOSED = "period.closed"
    """A billing period is closed, and its statements are final."""
    VERIFICATION_FAILED = "verification.failed"
    """The books or their evidence do not verify."""
    TIMER_LATE = "timer.late"
    """A timer did not finish when it was due."""
    SPEND_ANOMALY = "spend.anomaly"
    """A tenant spends far more in a day than it used to."""
    ANCHORS_FAILED = "anchors.failed"
    """The heads of the hash chains could not be anchored."""
    CHAIN_FAILED = "chain.failed"
    """Audit events could not be chained."""
    ALERTS_TEST = "alerts.test"
    """Somebody tested the sinks."""

    @property
    def severity(self) -> AlertSeverity:
        """The severity of alerts of this kind that state none."""
        return _SEVERITIES[self]


_SEVERITIES: Final = MappingProxyType(
    {
        AlertKind.KEY_ADDRESS_REFUSED: AlertSeverity.WARNING,
        AlertKind.TOKEN_ADDRESS_REFUSED: AlertSeverity.WARNING,
        AlertKind.KEY_USED_AFTER_END: AlertSeverity.WARNING,
        AlertKind.ALERTS_SUPPRESSED: AlertSeverity.WARNING,
        AlertKind.BUDGET_THRESHOLD: AlertSeverity.WARNING,
        AlertKind.QUOTA_THRESHOLD: AlertSeverity.WARNING,
        AlertKind.FORECAST_EXCEEDS_LIMIT: AlertSeverity.WARNING,
        AlertKind.KEY_EXPIRES_SOON: AlertSeverity.WARNING,
        AlertKind.BACKEND_MISCONFIGURED: AlertSeverity.ERROR,
        AlertKind.REGION_DOWN: AlertSeverity.ERROR,
        AlertKind.POOL_DOWN: AlertSeverity.CRITICAL,
        AlertKind.MODEL_UNPRICED: AlertSeverity.ERROR,
        AlertKind.PERIOD_CLOSED: AlertSeverity.INFO,
        AlertKind.VERIFICATION_FAILED: AlertSeverity.CRITICAL,
        AlertKind.TIMER_LATE: AlertSeverity.ERROR,
        AlertKind.SPEND_ANOMALY: AlertSeverity.WARNING,
        AlertKind.ANCHORS_FAILED: AlertSeverity.ERROR,
        AlertKind.CHAIN_FAILED: AlertSeverity.ERROR,
        AlertKind.ALERTS_TEST: AlertSeverity.INFO,
    }
)


@record
class Alert:
    """One event. Two processes that see the same give it the same id, so that it is stored once."""

    kind: AlertKind
    event_id: str
    """Unique within its kind."""
    at: datetime
    subject: str
    """The path of the object that it is about, such as `tenants/acme/keys/acme-0a1b2c3d`."""
    tenant_id: str = ""
    """The tenant that it is about, whose sinks get it; empty for the platform's own."""
    stated_severity: AlertSeverity | None = None
    """`None` for the severity of its kind."""
    data: Mapping[str, str] = field(default_factory=dict)

    @property
    def severity(self) -> AlertSeverity:
        """The urgency of this alert."""
        return self.stated_severity or self.kind.severity
