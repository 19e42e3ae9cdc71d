"""Settings of logs, metrics and traces."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class TelemetrySettings(BaseSettings):
    """A part of `Settings`. Other settings may be wrong: these are read alone, so that a monitor learns of it."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True, validate_default=True)

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
