"""Connect to Application Insights, or to a collector of OTLP. Blocks for half a second of CPU."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from azure.monitor.opentelemetry.exporter import (
    AzureMonitorLogExporter,
    AzureMonitorMetricExporter,
    AzureMonitorTraceExporter,
)
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor, ReadWriteLogRecord
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExporter
from opentelemetry.sdk.metrics.export import MetricExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from shared.adapters.monitor.destination import LOGGER, Destination

if TYPE_CHECKING:
    from azure.core.pipeline import PipelineResponse
    from azure.identity import DefaultAzureCredential, ManagedIdentityCredential, WorkloadIdentityCredential

_TIMEOUT_SECONDS: Final = 5
_NEVER_ACCEPTED: Final = frozenset({206, 400, 404, 413})
"""Statuses after which the same would not be accepted, or was accepted in part."""


class NamedEvents(LogRecordProcessor):
    """Keeps the name of an event among the properties, where queries read it. The handler moves it elsewhere."""

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Add the name."""
        made = log_record.log_record
        made.attributes = {**(made.attributes or {}), "event.name": made.event_name or ""}

    def shutdown(self) -> None:
        """Do nothing."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:  # noqa: ARG002 - the interface of OpenTelemetry
        """Do nothing."""
        return True


def connect_azure(
    connection_string: str,
    credential: DefaultAzureCredential | ManagedIdentityCredential | WorkloadIdentityCredential | None,
    instance: str,
) -> Destination:
    """Connect to Application Insights. Nothing is kept on disk, or sent about the exporters themselves.

    The connections of the credential end with those of the exporters.
    """
    options = {
        "connection_string": connection_string,
        "credential": credential,
        "disable_offline_storage": True,
        "timeout": _TIMEOUT_SECONDS,
        "read_timeout": _TIMEOUT_SECONDS,
        "retry_total": 1,
    }
    status = 0

    def note(response: PipelineResponse) -> None:  # type: ignore[type-arg]
        nonlocal status
        status = response.http_response.status_code

    def is_refused() -> bool:
        nonlocal status
        answered, status = status, 0
        return answered in _NEVER_ACCEPTED

    return _destination(
        instance,
        AzureMonitorTraceExporter(**options),
        AzureMonitorLogExporter(**options),
        AzureMonitorMetricExporter(raw_response_hook=note, **options),
        is_refused,
        [NamedEvents()],
        credential.close if credential is not None else _nothing,
    )


def connect_otlp(endpoint: str, instance: str) -> Destination:
    """Connect to a collector of OTLP over HTTP. Its headers are those of `OTEL_EXPORTER_OTLP_HEADERS`."""
    base = endpoint.rstrip("/")
    return _destination(
        instance,
        OTLPSpanExporter(endpoint=f"{base}/v1/traces", timeout=_TIMEOUT_SECONDS),
        OTLPLogExporter(endpoint=f"{base}/v1/logs", timeout=_TIMEOUT_SECONDS),
        OTLPMetricExporter(endpoint=f"{base}/v1/metrics", timeout=_TIMEOUT_SECONDS),
        lambda: False,
        [],
        _nothing,
    )


def _destination(
    instance: str,
    spans: SpanExporter,
    logs: LogRecordExporter,
    metrics: MetricExporter,
    is_refused: Callable[[], bool],
    before: Sequence[LogRecordProcessor],
    close: Callable[[], None],
) -> Destination:
    """Make providers that nothing else uses, so that a process can connect again, and ends them itself."""
    resource = Resource.create({"service.name": LOGGER, "service.instance.id": instance})
    tracers = TracerProvider(sampler=ALWAYS_ON, resource=resource, shutdown_on_exit=False)  # it has sampled before
    tracers.add_span_processor(BatchSpanProcessor(spans))
    loggers = LoggerProvider(resource=resource, shutdown_on_exit=False)
    for processor in (*before, BatchLogRecordProcessor(logs)):
        loggers.add_log_record_processor(processor)
    return Destination(tracers, loggers, LoggingHandler(logger_provider=loggers), metrics, resource, is_refused, close)


def _nothing() -> None:
    """Do nothing: there is no credential to close."""
