"""Bodies of the management API of alerts."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field, StrictBool, StrictStr

from shared.definitions import Model
from shared.domain.alerts.alert import AlertKind
from shared.domain.alerts.severity import AlertSeverity
from shared.domain.alerts.sink import AlertSink, SinkId, SinkType
from shared.domain.identifiers import TENANT_ID

SINK_NAME: Final = r"[a-z0-9][a-z0-9-]{0,39}"
_SecretName = Annotated[StrictStr, Field(max_length=127, pattern=r"^[0-9A-Za-z-]*$")]


class SinkDefinition(Model):
    """A place to which alerts are delivered. Addresses and signing secrets are names of secrets, never their values."""

    type: SinkType
    endpoint: Annotated[StrictStr, Field(max_length=256)] = ""
    address_secret: _SecretName = ""
    signing_secret: _SecretName = ""
    kinds: Annotated[list[AlertKind], Field(default=[], max_length=len(AlertKind))]
    minimum_severity: AlertSeverity = AlertSeverity.INFO
    enabled: StrictBool = True

    def to_domain(self, sink_id: SinkId) -> AlertSink:
        """Return the sink of this name."""
        fields = self.model_dump() | {"kinds": tuple(kind.value for kind in self.kinds)}
        return AlertSink(name=sink_id.name, tenant_id=sink_id.tenant_id, **fields)


class AlertTest(Model):
    """The sinks that are to get a test: one, or all that are enabled; of a tenant, or of the platform."""

    tenant_id: Annotated[StrictStr, Field(pattern=f"^({TENANT_ID.pattern})?$")] = ""
    sink: Annotated[StrictStr, Field(pattern=f"^({SINK_NAME})?$")] = ""
