"""The outbox of alerts as documents in the table `alerts`."""

from __future__ import annotations

from typing import Final

from shared.adapters.documents.codec import to_json
from shared.adapters.documents.store import Documents, key_of
from shared.domain.alerts.alert import Alert
from shared.domain.errors import AlreadyExists
from shared.domain.identifiers import timestamp

_TABLE: Final = "alerts"


class DocumentAlerts:
    """Implements `AlertOutbox`, with a partition for each kind. The id of an event is its key, so it is stored once."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def add(self, alert: Alert) -> bool:
        try:
            await self._documents.insert(_TABLE, alert.kind, key_of(alert.event_id), to_json(_event(alert)))
        except AlreadyExists:
            return False
        return True


def _event(alert: Alert) -> dict[str, object]:
    """Render an alert as an event of CloudEvents 1.0: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md

    Events are stored: their members never change names or meanings. Those of earlier versions have no severity.
    """
    event: dict[str, object] = {
        "specversion": "1.0",
        "id": alert.event_id,
        "source": "/tallygate",
        "type": f"tallygate.{alert.kind}",
        "subject": alert.subject,
        "time": timestamp(alert.at),
        "datacontenttype": "application/json",
        "severity": alert.severity,
        "data": alert.data,
    }
    return {**event, "tenantid": alert.tenant_id} if alert.tenant_id else event
