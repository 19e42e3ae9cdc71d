"""A thread exports what was measured, traced and logged, whatever its monitor does."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence

import pytest

from shared.adapters.monitor import exported
from shared.adapters.monitor.exported import ExportedTelemetry, Monitor
from shared.adapters.monitor.measurements import Measurements
from shared.adapters.monitor.samples import Sample
from shared.composition.telemetry import report_failure
from shared.domain.telemetry import instruments
from shared.domain.telemetry.spans import Span

LOGGER = logging.getLogger("tallygate")
PLANTED = "planted-part-of-a-connection-string"
SPAN = Span(
    name="POST chat/completions",
    is_server=True,
    trace_id="1" * 32,
    span_id="2" * 16,
    parent_id="",
    has_remote_parent=False,
    started_ns=1,
    ended_ns=2,
    attributes={},
    error="",
    sampled_percent=100,
)


class KeptLines(logging.Handler):
    """Keeps the messages of all lines."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


class Scripted:
    """A monitor that accepts, or not."""

    def __init__(self) -> None:
        self.lines = KeptLines()
        self.accepts = True
        self.samples: list[list[Sample]] = []
        self.spans: list[Span] = []
        self.has_ended = threading.Event()
        self.has_span = threading.Event()
        self.has_samples = threading.Event()

    def export(self, samples: Sequence[Sample]) -> bool:
        self.samples.append(list(samples))
        self.has_samples.set()
        return self.accepts

    def span(self, span: Span) -> None:
        self.spans.append(span)
        self.has_span.set()

    def flush(self) -> None:
        pass

    def shutdown(self) -> None:
        self.has_ended.set()

    def amounts(self) -> list[dict[str, float]]:
        return [{each.instrument.name: each.amount for each in samples} for samples in self.samples]


def exporting(connect: Callable[[], Monitor]) -> ExportedTelemetry:
    return ExportedTelemetry(10, connect, report_failure)


async def test_amounts_of_a_failed_export_are_part_of_the_next() -> None:
    monitor = Scripted()
    telemetry = exporting(lambda: monitor)
    monitor.accepts = False
    telemetry.add(instruments.COST, 1.5, "acme", "chat")
    telemetry.set(instruments.RESERVATIONS_OPEN, 7)
    telemetry.record(instruments.OPERATION_DURATION, 0.5, "chat", "gpt-4o", "")
    await telemetry.flush()
    monitor.accepts = True
    telemetry.add(instruments.COST, 1, "acme", "chat")
    await telemetry.flush()
    await telemetry.flush()
    await telemetry.aclose()
    first, second = monitor.amounts()
    assert (first["gateway.cost_usd"], second["gateway.cost_usd"]) == (1.5, 2.5)
    assert first["gateway.reservations.open"] == second["gateway.reservations.open"] == 7
    assert second["gen_ai.client.operation.duration"] == 1


async def test_the_extremes_of_a_histogram_are_those_since_the_last_export() -> None:
    monitor = Scripted()
    telemetry = exporting(lambda: monitor)
    for values, accepts in (((5, 3), True), ((2,), False), ((1,), True)):
        monitor.accepts = accepts
        for each in values:
            telemetry.record(instruments.OPERATION_DURATION, each, "chat", "gpt-4o", "")
        await telemetry.flush()
    await telemetry.aclose()
    found = [each.distribution for (each,) in monitor.samples]
    assert [(each.smallest, each.largest, sum(each.counts)) for each in found if each is not None] == [
        (3, 5, 2),
        (2, 2, 1),
        (1, 2, 2),
    ]


async def test_a_failure_of_the_library_that_nobody_waits_for_ends_nothing(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exported, "_SPAN_SECONDS", 0.01)

    class Failing(Scripted):
        def span(self, span: Span) -> None:
            super().span(span)
            raise ValueError(PLANTED)

    monitor = Failing()
    telemetry = exporting(lambda: monitor)
    telemetry.start()
    for _ in range(2):  # the second is taken when the first has failed, and nobody waits yet
        telemetry.trace(SPAN)
        assert await asyncio.to_thread(monitor.has_span.wait, 60)
        monitor.has_span.clear()
    telemetry.add(instruments.COST, 1, "acme", "chat")
    await telemetry.flush()
    await telemetry.aclose()
    assert monitor.amounts() == [{"gateway.cost_usd": 1}]
    assert "gateway.telemetry.failed" in caplog.text


async def test_a_monitor_whose_library_fails_gets_what_comes_next(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Scripted):
        failures = 2

        def span(self, span: Span) -> None:
            self.fail()
            super().span(span)

        def export(self, samples: Sequence[Sample]) -> bool:
            self.fail()
            return super().export(samples)

        def fail(self) -> None:
            if self.failures:
                self.failures -= 1
                raise ValueError(PLANTED)

    monitor = Failing()
    telemetry = exporting(lambda: monitor)
    telemetry.trace(SPAN)
    telemetry.add(instruments.COST, 1, "acme", "chat")
    async with asyncio.timeout(exported.FLUSH_SECONDS - 1):
        await telemetry.flush()
    telemetry.trace(SPAN)
    await telemetry.flush()
    await telemetry.aclose()
    assert monitor.amounts() == [{"gateway.cost_usd": 1}]
    assert monitor.spans == [SPAN]
    assert "gateway.telemetry.failed" in caplog.text
    assert PLANTED not in caplog.text


async def test_what_was_accepted_is_not_sent_again_if_a_later_part_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exported, "_AT_ONCE", 2)

    class Filling(Scripted):
        def export(self, samples: Sequence[Sample]) -> bool:
            super().export(samples)
            return len(self.samples) != 2

    monitor = Filling()
    telemetry = exporting(lambda: monitor)
    for number in range(5):
        telemetry.add(instruments.COST, 1, f"t{number}", "chat")
    await telemetry.flush()
    await telemetry.flush()
    await telemetry.aclose()
    sent = [[each.values[0] for each in samples] for samples in monitor.samples]
    assert sent == [["t0", "t1"], ["t2", "t3"], ["t2", "t3"], ["t4"]]


async def test_an_old_gauge_does_not_replace_a_newer_one() -> None:
    monitor = Scripted()
    telemetry = exporting(lambda: monitor)
    telemetry.set(instruments.RESERVATIONS_OPEN, 7)
    taken = telemetry._samples.take()
    telemetry.set(instruments.RESERVATIONS_OPEN, 8)
    telemetry._samples.put_back(taken)
    assert telemetry.gauges["gateway.reservations.open"] == {(): 8}
    await telemetry.aclose()


async def test_spans_and_amounts_are_exported_in_time_without_a_flush(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exported, "_SPAN_SECONDS", 0.01)
    monkeypatch.setattr(exported, "EXPORT_SECONDS", 0.05)
    monitor = Scripted()
    telemetry = exporting(lambda: monitor)
    telemetry.trace(SPAN)
    telemetry.add(instruments.COST, 1, "acme", "chat")
    telemetry.start()
    assert await asyncio.to_thread(monitor.has_span.wait, 30)
    assert await asyncio.to_thread(monitor.has_samples.wait, 30)
    await telemetry.aclose()
    assert await asyncio.to_thread(monitor.has_ended.wait, 30)
    assert monitor.spans == [SPAN]


async def test_a_monitor_that_hangs_ends_a_flush_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exported, "FLUSH_SECONDS", 0.05)
    hanging = threading.Event()

    class Hanging(Scripted):
        def export(self, samples: Sequence[Sample]) -> bool:
            hanging.wait()
            return super().export(samples)

    telemetry = exporting(Hanging)
    telemetry.add(instruments.COST, 1, "acme", "chat")
    await telemetry.flush()
    for _ in range(10_000):
        telemetry.trace(SPAN)
        LOGGER.debug("a line")
    assert len(telemetry._spans) == 2048
    hanging.set()
    await telemetry.aclose()


def test_a_flush_may_outlive_its_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exported, "FLUSH_SECONDS", 0.01)
    hanging, monitor = threading.Event(), Scripted()

    def connect() -> Scripted:
        hanging.wait()
        return monitor

    telemetry = exporting(connect)
    asyncio.run(telemetry.aclose())
    hanging.set()
    assert monitor.has_ended.wait(30)


def test_lines_that_wait_are_bounded() -> None:
    lines = exported.WaitingLines()
    for number in range(5000):
        lines.emit(logging.makeLogRecord({"msg": str(number)}))
    assert len(lines._records) == 1000


class Chatty(KeptLines):
    """Has lines logged while it is handed others, as other threads log meanwhile."""

    left = 3

    def emit(self, record: logging.LogRecord) -> None:
        super().emit(record)
        if self.left:
            self.left -= 1
            LOGGER.error("during the handover %d", self.left)


async def test_each_line_around_the_connection_is_exported_once_and_in_order() -> None:
    monitor = Scripted()
    monitor.lines = Chatty()

    def connect() -> Scripted:
        LOGGER.error("while it connects")
        return monitor

    telemetry = exporting(connect)
    LOGGER.error("before")
    await telemetry.flush()
    LOGGER.error("after")
    await telemetry.aclose()
    during = [f"during the handover {number}" for number in (2, 1, 0)]
    assert monitor.lines.messages == ["before", "while it connects", *during, "after"]


async def test_no_line_of_many_threads_is_lost_or_exported_twice() -> None:
    monitor = Scripted()

    def log(thread: int) -> None:
        for number in range(200):
            LOGGER.error("%d %d", thread, number)

    telemetry = exporting(lambda: monitor)
    threads = [threading.Thread(target=log, args=(each,)) for each in range(4)]
    telemetry.start()
    for each in threads:
        each.start()
    for each in threads:
        await asyncio.to_thread(each.join)
    await telemetry.flush()
    await telemetry.aclose()
    found = monitor.lines.messages
    for thread in range(4):
        assert [each for each in found if each.startswith(f"{thread} ")] == [f"{thread} {n}" for n in range(200)]


def test_telemetry_that_is_finished_exports_its_lines_and_ends() -> None:
    handlers, monitor = list(LOGGER.handlers), Scripted()
    telemetry = exporting(lambda: monitor)
    LOGGER.error("the only line")
    telemetry.finish()
    assert monitor.has_ended.wait(30)
    assert monitor.lines.messages == ["the only line"]
    assert LOGGER.handlers == handlers


def test_measurements_alone_forget_spans() -> None:
    measured = Measurements(10)
    measured.trace(SPAN)
    assert SPAN not in vars(measured).values()
