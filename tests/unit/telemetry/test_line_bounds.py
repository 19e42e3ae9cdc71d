"""A flood of one event writes a bounded number of lines, and says how many it has left out."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from shared.application import per_second
from shared.application.structured_log import log_event
from shared.domain.telemetry import events


class Seconds:
    """A monotonic clock that stands until it is moved."""

    now = 5.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Seconds:
    seconds = Seconds()
    monkeypatch.setattr(per_second, "time", seconds)
    return seconds


def lines(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    found = [record.getMessage().partition(" ") for record in caplog.records]
    return [json.loads(fields) for name, _, fields in found if name == event]


def test_lines_beyond_the_bound_are_counted(caplog: pytest.LogCaptureFixture, clock: Seconds) -> None:
    for _ in range(1000):
        log_event(logging.WARNING, events.REQUEST_FAILED.name, {})
    assert lines(caplog, "gateway.request.failed") == [{}] * 10
    clock.now += 1
    for _ in range(2):
        log_event(logging.WARNING, events.REQUEST_FAILED.name, {})
    assert lines(caplog, "gateway.request.failed")[10:] == [{"gateway.lines_left_out": 990}, {}]


def test_each_event_has_its_own_bound(caplog: pytest.LogCaptureFixture, clock: Seconds) -> None:
    for _ in range(50):
        log_event(logging.WARNING, events.REQUEST_FAILED.name, {})
    log_event(logging.WARNING, events.STREAM_FAILED.name, {})
    assert lines(caplog, "gateway.stream.failed") == [{}]


@pytest.mark.parametrize("event", [events.ALERT.name, "gateway.unknown"])
def test_an_event_without_a_bound_is_always_written(
    caplog: pytest.LogCaptureFixture, clock: Seconds, event: str
) -> None:
    for _ in range(100):
        log_event(logging.WARNING, event, {})
    assert len(lines(caplog, event)) == 100


def test_a_line_below_the_level_costs_no_place(caplog: pytest.LogCaptureFixture, clock: Seconds) -> None:
    caplog.set_level(logging.WARNING, "tallygate")
    for _ in range(100):
        log_event(logging.INFO, events.BREAKER_CHANGED.name, {})
    log_event(logging.WARNING, events.BREAKER_CHANGED.name, {})
    assert lines(caplog, "gateway.breaker.changed") == [{}]
