"""Rules of sinks that need no gateway."""

from __future__ import annotations

import pytest

from shared.adapters.documents.alert_sinks import DocumentSinks
from shared.adapters.documents.audit import DocumentOutbox
from shared.adapters.documents.deliveries import DocumentDeliveries
from shared.adapters.documents.tenancy import DocumentTenants
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.application.alerts.manage_sinks import ManageSinks
from shared.application.audit.record_audit import Actor, RecordAudit
from shared.domain.alerts.sink import AlertSink, SinkType
from shared.domain.errors import InvalidRequest
from tests.tools.ledgers import ManualClock
from tests.unit.alerts.test_deliver_alerts import ScriptedSender


@pytest.mark.parametrize("field", ["address_secret", "signing_secret"])
async def test_no_sink_gets_a_secret_of_the_gateway_itself(field: str) -> None:
    documents, clock = InMemoryDocuments(), ManualClock()
    manage = ManageSinks(
        DocumentSinks(documents),
        DocumentDeliveries(documents),
        ScriptedSender(),
        DocumentTenants(documents),
        clock,
        RecordAudit(DocumentOutbox(documents), clock),
        ["tallygate-admin-key", ""],
    )
    sink = AlertSink(name="ops", type=SinkType.WEBHOOK, address_secret="a", signing_secret="b")
    setattr(sink, field, "Tallygate-Admin-Key")
    with pytest.raises(InvalidRequest, match="the gateway's own") as refused:
        await manage.put(sink, (), Actor(name="ann"))
    assert refused.value.param == field
