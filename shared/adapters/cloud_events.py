"""Alerts as events of CloudEvents 1.0: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from shared.domain.alerts.alert import Alert, AlertKind
from shared.domain.alerts.event import AlertEvent
from shared.domain.alerts.severity import AlertSeverity
from shared.domain.identifiers import timestamp

_TYPE: Final = "tallygate."
_SEVERITIES: Final = {each.value: each for each in AlertSeverity}
_KINDS: Final = {each.value: each for each in AlertKind}


class _Event(msgspec.Struct):
    """The members that the gateway reads. Events of earlier versions lack the severity and the tenant."""

    id: str
    type: str
    subject: str
    time: str
    severity: str = ""
    tenantid: str = ""
    data: dict[str, Any] = msgspec.field(default_factory=dict)


def event_json(alert: Alert) -> str:
    """Render an alert. Events are stored: their members never change names or meanings."""
    event: dict[str, object] = {
        "specversion": "1.0",
        "id": alert.event_id,
        "source": "/tallygate",
        "type": f"{_TYPE}{alert.kind}",
        "subject": alert.subject,
        "time": timestamp(alert.at),
        "datacontenttype": "application/json",
        "severity": alert.severity,
        "data": dict(alert.data),
    }
    if alert.tenant_id:
        event["tenantid"] = alert.tenant_id
    return msgspec.json.encode(event).decode()


def read_event(text: str) -> AlertEvent:
    """Read a stored event. Raises `ValueError` for anything else."""
    event = msgspec.json.decode(text, type=_Event)
    kind = event.type.removeprefix(_TYPE)
    data = {name: str(each) for name, each in event.data.items()}
    known = _KINDS.get(kind)
    of_kind = known.severity if known else AlertSeverity.WARNING
    return AlertEvent(
        kind=kind,
        event_id=event.id,
        severity=_SEVERITIES.get(event.severity, of_kind),
        tenant_id=event.tenantid or data.get("tenant_id", ""),
        at=event.time,
        subject=event.subject,
        data=data,
        document=text,
    )


def event_of(alert: Alert) -> AlertEvent:
    """Return an alert as it is stored."""
    return read_event(event_json(alert))
