"""Traces of requests whose measurements a test reads, or nobody."""

from __future__ import annotations

from shared.adapters.monitor.measurements import Measurements
from shared.application.ports.clock import Clock
from shared.application.telemetry.request_trace import RequestTraces, TracePolicy
from shared.domain.telemetry.spans import Span


class Kept(Measurements):
    """Measurements that also keep all spans."""

    def __init__(self, max_series: int = 1000) -> None:
        super().__init__(max_series)
        self.spans: list[Span] = []

    def trace(self, span: Span) -> None:
        self.spans.append(span)


def traces(clock: Clock, kept: Kept | None = None, *, ratio: float = 0, slow_seconds: float = 30) -> RequestTraces:
    """Return the traces of a process."""
    return RequestTraces(kept or Kept(), clock, TracePolicy(ratio, slow_seconds))
