"""Open the telemetry of one process."""

from __future__ import annotations

from shared.adapters.monitor.measurements import Measurements
from shared.adapters.monitor.silent import SilentTelemetry
from shared.application.ports.telemetry import Telemetry
from shared.telemetry_settings import TelemetrySettings


def open_telemetry(settings: TelemetrySettings) -> Telemetry:
    """Return the telemetry that the settings ask for."""
    is_exported = settings.applicationinsights_connection_string.get_secret_value()
    if is_exported or settings.otel_exporter_otlp_endpoint:
        return Measurements(settings.telemetry_max_series)
    return SilentTelemetry()
