"""Open the telemetry of one process."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

from shared.adapters.monitor.exported import ExportedTelemetry, Monitor
from shared.adapters.monitor.silent import SilentTelemetry
from shared.application.ports.telemetry import Telemetry
from shared.application.structured_log import MESSAGE, fields_of, log_event
from shared.export_settings import ExportSettings
from shared.settings import Settings, quiet_exporters

if TYPE_CHECKING:
    from azure.identity import DefaultAzureCredential, ManagedIdentityCredential, WorkloadIdentityCredential


def open_telemetry(settings: Settings, resources: AsyncExitStack) -> Telemetry:
    """Return the telemetry that the settings ask for. `resources` exports what is left at the end.

    Nothing is imported and no request is sent before the first answer.
    """
    telemetry = exported_telemetry(settings)
    if telemetry is None:
        return SilentTelemetry()
    resources.push_async_callback(telemetry.aclose)
    return telemetry


def exported_telemetry(settings: ExportSettings) -> ExportedTelemetry | None:
    """Return telemetry that is exported; `None` if the settings name no monitor."""
    connection_string = settings.applicationinsights_connection_string.get_secret_value()
    if not connection_string and not settings.otel_exporter_otlp_endpoint:
        return None

    def connect() -> Monitor:
        quiet_exporters()
        from shared.adapters.monitor.connect import connect_azure, connect_otlp

        instance = settings.website_instance_id
        if not connection_string:
            return connect_otlp(settings.otel_exporter_otlp_endpoint, instance)
        credential = None if settings.is_monitor_local else _credential(settings)
        return connect_azure(connection_string, credential, instance)

    return ExportedTelemetry(settings.telemetry_max_series, connect, report_failure)


def report_failure(error: Exception, message: str) -> None:
    """Write a line about a failure. It has no text of the error, which may hold a part of a connection string."""
    log_event(logging.ERROR, "gateway.telemetry.failed", {**fields_of(error), MESSAGE: message})


def _credential(
    settings: ExportSettings,
) -> DefaultAzureCredential | ManagedIdentityCredential | WorkloadIdentityCredential:
    """Return the identity of the process, for a library that does not await."""
    from azure.identity import DefaultAzureCredential, ManagedIdentityCredential, WorkloadIdentityCredential

    client_id = settings.azure_client_id or None
    if not settings.use_managed_identity:
        return DefaultAzureCredential(managed_identity_client_id=client_id)
    if settings.azure_federated_token_file:
        return WorkloadIdentityCredential(
            tenant_id=settings.azure_tenant_id,
            client_id=settings.azure_client_id,
            token_file_path=settings.azure_federated_token_file,
            authority=settings.azure_authority_host or None,
        )
    return ManagedIdentityCredential(client_id=client_id)
