"""Connect to Application Insights, or to a collector of OTLP. Blocks for half a second of CPU."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from azure.monitor.opentelemetry import configure_azure_monitor
from azure.monitor.opentelemetry.exporter import AzureMonitorMetricExporter
from opentelemetry._logs import get_logger_provider
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.instrumentation.logging.handler import LoggingHandler
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor, ReadWriteLogRecord
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import get_tracer_provider

from shared.adapters.monitor.destination import LOGGER, Destination

if TYPE_CHECKING:
    from azure.core.credentials import TokenCredential
    from azure.core.pipeline import PipelineResponse

_TIMEOUT_SECONDS: Final = 5
_OFF: Final = (
    "azure_sdk",
    "django",
    "fastapi",
    "flask",
    "httpx",
    "httpx2",
    "psycopg2",
    "requests",
    "urllib",
    "urllib3",
)
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


def connect_azure(connection_string: str, credential: TokenCredential | None, instance: str) -> Destination:
    """Configure Azure Monitor once in this process: logs and spans, and metrics by an exporter of our own.

    Nothing is instrumented, kept on disk, or sent about the exporter itself.
    """
    options = {
        "connection_string": connection_string,
        "credential": credential,
        "disable_offline_storage": True,
        "timeout": _TIMEOUT_SECONDS,
        "read_timeout": _TIMEOUT_SECONDS,
        "retry_total": 1,
    }
    resource = _resource(instance)
    configure_azure_monitor(
        logger_name=LOGGER,
        resource=resource,
        log_record_processors=[NamedEvents()],
        sampling_ratio=1.0,  # the gateway has sampled before
        enable_live_metrics=False,
        enable_performance_counters=False,
        instrumentation_options={name: {"enabled": False} for name in _OFF},
        **options,
    )
    status = 0

    def note(response: PipelineResponse) -> None:  # type: ignore[type-arg]
        nonlocal status
        status = response.http_response.status_code

    def is_refused() -> bool:
        nonlocal status
        answered, status = status, 0
        return answered in _NEVER_ACCEPTED

    metrics = AzureMonitorMetricExporter(raw_response_hook=note, **options)
    tracers, loggers = get_tracer_provider(), get_logger_provider()
    assert isinstance(tracers, TracerProvider)
    assert isinstance(loggers, LoggerProvider)
    return Destination(tracers, loggers, metrics, resource, is_refused)


def connect_otlp(endpoint: str, instance: str) -> Destination:
    """Connect to a collector of OTLP over HTTP. Its headers are those of `OTEL_EXPORTER_OTLP_HEADERS`."""
    base, resource = endpoint.rstrip("/"), _resource(instance)
    tracers = TracerProvider(resource=resource)
    spans = OTLPSpanExporter(endpoint=f"{base}/v1/traces", timeout=_TIMEOUT_SECONDS)
    tracers.add_span_processor(BatchSpanProcessor(spans))
    loggers = LoggerProvider(resource=resource)
    logs = OTLPLogExporter(endpoint=f"{base}/v1/logs", timeout=_TIMEOUT_SECONDS)
    loggers.add_log_record_processor(BatchLogRecordProcessor(logs))
    logging.getLogger(LOGGER).addHandler(LoggingHandler(logger_provider=loggers))
    metrics = OTLPMetricExporter(endpoint=f"{base}/v1/metrics", timeout=_TIMEOUT_SECONDS)
    return Destination(tracers, loggers, metrics, resource, lambda: False)


def _resource(instance: str) -> Resource:
    return Resource.create({"service.name": LOGGER, "service.instance.id": instance})
