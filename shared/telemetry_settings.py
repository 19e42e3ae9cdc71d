"""Settings of logs, metrics and traces."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings

from shared.setting_rules import collector_problem, is_loopback, refuse


class TelemetrySettings(BaseSettings):
    """A part of `Settings`."""

    applicationinsights_connection_string: SecretStr = SecretStr("")
    """The Application Insights resource that gets telemetry. If empty, none does."""
    otel_exporter_otlp_endpoint: str = ""
    """The collector that gets telemetry by OTLP over HTTP, in place of Application Insights."""
    telemetry_sampling_ratio: float = Field(default=0.01, ge=0, le=1)
    """The part of sound requests that get a trace. Those that fail or are slow get one in any case."""
    telemetry_slow_seconds: float = Field(default=30, gt=0)
    """The duration from which a request is slow."""
    telemetry_max_series: int = Field(default=1000, ge=1, le=10_000)
    """The most series of one metric in one process. Further ones are added up under `other`."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """The least level of the gateway's own log lines."""

    @property
    def is_monitor_local(self) -> bool:
        """Tells whether Application Insights is emulated on this machine without TLS, where no token may be sent."""
        return _ingestion(self.applicationinsights_connection_string.get_secret_value()).startswith("http:")

    @field_validator("applicationinsights_connection_string")
    @classmethod
    def _is_connection_string(cls, text: SecretStr) -> SecretStr:
        stated = text.get_secret_value()
        if stated and "instrumentationkey=" not in stated.lower():
            refuse("must state an InstrumentationKey")
        endpoint = _ingestion(stated)
        if endpoint.startswith("http:") and not is_loopback(endpoint):
            refuse("must have an https IngestionEndpoint")
        return text

    @field_validator("otel_exporter_otlp_endpoint")
    @classmethod
    def _is_collector(cls, endpoint: str, info: ValidationInfo) -> str:
        if endpoint:
            refuse(collector_problem(endpoint))
            connection = info.data.get("applicationinsights_connection_string", SecretStr(""))
            if connection.get_secret_value():
                refuse("contradicts APPLICATIONINSIGHTS_CONNECTION_STRING; set one of them")
        return endpoint


def _ingestion(connection_string: str) -> str:
    """Return the address that a connection string names; empty if it names none."""
    for part in connection_string.split(";"):
        name, _, text = part.partition("=")
        if name.strip().lower() == "ingestionendpoint":
            return text.strip().lower()
    return ""
