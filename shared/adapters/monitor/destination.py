"""A monitor that gets metrics, spans and log lines by OpenTelemetry. Importing it takes half a second of CPU."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from typing import Final

from opentelemetry.context import Context
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricExporter,
    MetricExportResult,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)

from shared.adapters.monitor.samples import Sample
from shared.domain.telemetry.instruments import Instrument, InstrumentKind
from shared.domain.telemetry.spans import Span

LOGGER: Final = "tallygate"
_SAMPLE_RATE: Final = "_MS.sampleRate"
"""The attribute by which Application Insights counts a sampled request as several."""


class PreparedIds(RandomIdGenerator):
    """Gives spans the ids that the backend got, in place of random ones."""

    def __init__(self) -> None:
        self.trace_id = self.span_id = 1

    def generate_span_id(self) -> int:
        return self.span_id

    def generate_trace_id(self) -> int:
        return self.trace_id


class Destination:
    """Implements `Monitor`. Only the thread that exports calls it."""

    def __init__(
        self,
        tracers: TracerProvider,
        loggers: LoggerProvider,
        lines: logging.Handler,
        metrics: MetricExporter,
        resource: Resource,
        is_refused: Callable[[], bool],
        close: Callable[[], None],
    ) -> None:
        """`lines` exports log lines by `loggers`.

        `is_refused` tells after a failure that the monitor will never accept the same again.
        `close` is called at the end.
        """
        self._tracers = tracers
        self._loggers = loggers
        self.lines = lines
        self._metrics = metrics
        self._resource = resource
        self._is_refused = is_refused
        self._close = close
        self._ids = tracers.id_generator = PreparedIds()
        self._tracer = tracers.get_tracer(LOGGER)
        self._since_ns = time.time_ns()

    def export(self, samples: Sequence[Sample]) -> bool:
        """Send amounts. Returns `False` if they should be sent again."""
        now_ns = time.time_ns()
        sent = self._metrics.export(self._data(samples, now_ns))
        is_done = sent is MetricExportResult.SUCCESS or self._is_refused()
        self._since_ns = now_ns if is_done else self._since_ns
        return is_done

    def span(self, span: Span) -> None:
        """Make and end a span with its recorded times."""
        trace_id, self._ids.span_id = int(span.trace_id, 16), int(span.span_id, 16)
        self._ids.trace_id = trace_id
        context = Context()
        if span.parent_id:
            parent = SpanContext(trace_id, int(span.parent_id, 16), span.has_remote_parent, TraceFlags(1))
            context = set_span_in_context(NonRecordingSpan(parent), context)
        kind = SpanKind.SERVER if span.is_server else SpanKind.CLIENT
        made = self._tracer.start_span(span.name, context, kind, span.attributes, start_time=span.started_ns)
        made.set_attribute(_SAMPLE_RATE, span.sampled_percent)  # the sampler has set its own
        if span.error:
            made.set_status(StatusCode.ERROR, span.error)
        made.end(span.ended_ns)

    def flush(self) -> None:
        """Send spans and log lines that wait."""
        self._tracers.force_flush()
        self._loggers.force_flush()

    def shutdown(self) -> None:
        """Send what waits, and end the threads of the exporters."""
        self._tracers.shutdown()
        self._loggers.shutdown()
        self._metrics.shutdown()
        self._close()

    def _data(self, samples: Sequence[Sample], now_ns: int) -> MetricsData:
        by_name: dict[str, list[Sample]] = {}
        for sample in samples:
            by_name.setdefault(sample.instrument.name, []).append(sample)
        metrics = [self._metric(each[0].instrument, each, now_ns) for each in by_name.values()]
        scope = ScopeMetrics(InstrumentationScope(LOGGER), metrics, "")
        return MetricsData([ResourceMetrics(self._resource, [scope], "")])

    def _metric(self, instrument: Instrument, samples: Sequence[Sample], now_ns: int) -> Metric:
        delta = AggregationTemporality.DELTA
        data: Sum | Gauge | Histogram
        if instrument.kind is InstrumentKind.HISTOGRAM:
            data = Histogram([self._histogram(each, now_ns) for each in samples], delta)
        else:
            points = [NumberDataPoint(_attributes(each), self._since_ns, now_ns, each.amount) for each in samples]
            is_gauge = instrument.kind is InstrumentKind.GAUGE
            data = Gauge(points) if is_gauge else Sum(points, delta, is_monotonic=True)
        return Metric(instrument.name, instrument.description, instrument.unit, data)

    def _histogram(self, sample: Sample, now_ns: int) -> HistogramDataPoint:
        found = sample.distribution
        assert found is not None, "a histogram has one"
        return HistogramDataPoint(
            attributes=_attributes(sample),
            start_time_unix_nano=self._since_ns,
            time_unix_nano=now_ns,
            count=sum(found.counts),
            sum=found.total,
            bucket_counts=found.counts,
            explicit_bounds=found.bounds,
            min=found.smallest,
            max=found.largest,
        )


def _attributes(sample: Sample) -> dict[str, str]:
    return dict(zip(sample.instrument.exported_dimensions, sample.values, strict=True))
