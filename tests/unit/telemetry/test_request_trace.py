"""Requests that get a trace, and what it says of the others."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from shared.adapters.monitor.silent import SilentTelemetry
from shared.application import per_second
from shared.application.telemetry import request_trace
from shared.application.telemetry.build_spans import Ended, spans_of
from shared.application.telemetry.request_trace import RequestTrace, RequestTraces, TracePolicy
from shared.domain.telemetry.spans import Span
from tests.tools.ledgers import ManualClock
from tests.tools.traces import Kept, traces
from tests.unit.telemetry.test_line_bounds import Seconds

RID = "0" * 31 + "1"


async def test_the_next_trace_of_its_kind_counts_those_that_were_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds, kept = Seconds(), Kept()
    monkeypatch.setattr(per_second, "time", seconds)
    of_process = traces(ManualClock(), kept)
    for _ in range(9):
        of_process.refused(of_process.begin(RID, "embeddings"), 429, "quota_exceeded")
    seconds.now += 1
    of_process.refused(of_process.begin(RID, "embeddings"), 429, "quota_exceeded")
    assert [span.attributes.get("gateway.traces_left_out") for span in kept.spans] == [None] * 5 + [4]


async def test_the_sample_is_drawn_when_a_request_begins_and_makes_no_span_of_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random.seed(7)
    kept, drawn, made = Kept(), 0, list[object]()

    def counted(trace: RequestTrace, ended: Ended, hashed: Callable[[str, str], str]) -> Iterator[Span]:
        made.append(trace)
        return spans_of(trace, ended, hashed)

    of_process = traces(ManualClock(), kept, ratio=0.01)
    monkeypatch.setattr(request_trace, "spans_of", counted)
    for _ in range(10_000):
        trace = of_process.begin(RID, "embeddings")
        drawn += trace.is_sampled
        of_process.answered(trace, 200, is_stream=False)
    assert 60 < drawn < 150
    assert len(made) == len(kept.spans) == drawn
    assert {span.sampled_percent for span in kept.spans} == {1}


async def test_an_attempt_that_was_never_sent_was_not_waited_for() -> None:
    kept = Kept()
    of_process = traces(ManualClock(), kept)
    trace = of_process.begin(RID, "embeddings")
    trace.attempt()
    of_process.answered(trace, 200, is_stream=False)
    kept.fold()
    assert kept.distributions["gateway.added_latency.bucket"]["embeddings",].counts[0] == 1
    assert kept.spans == []


async def test_a_stream_that_was_left_to_a_timer_has_no_error() -> None:
    kept = Kept()
    of_process = traces(ManualClock(), kept, ratio=1)
    trace = of_process.begin(RID, "responses")
    of_process.stream_ended(trace, trace.attempt())
    assert [span.error for span in kept.spans] == [""]


def test_nothing_is_measured_where_nothing_is_exported() -> None:
    of_process = RequestTraces(SilentTelemetry(), ManualClock(), TracePolicy(1, 30))
    trace = of_process.begin(RID, "embeddings")
    attempt = trace.attempt()
    of_process.answered(trace, 200, is_stream=False)
    of_process.refused(trace, 500, "internal_error")
    of_process.stream_ended(trace, attempt)
    assert attempt.measure is None
