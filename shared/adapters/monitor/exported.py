"""Telemetry that a thread exports, so that no request waits for a monitor."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final, Protocol

from shared.adapters.monitor.measurements import Measurements
from shared.adapters.monitor.samples import Sample, Samples
from shared.domain.telemetry.spans import Span

EXPORT_SECONDS: Final = 60.0
FLUSH_SECONDS: Final = 5.0
"""The longest time for which a timer or a process that ends waits for a monitor."""
_SPAN_SECONDS: Final = 5.0
_AT_ONCE: Final = 1000
"""The most amounts of one request to the monitor."""
_MAX_SPANS: Final = 2048
_MAX_LINES: Final = 1000
_logger: Final = logging.getLogger("tallygate")


class Monitor(Protocol):
    """Sends to a monitor. It may block for some seconds, and raises nothing but defects of its library."""

    @property
    def lines(self) -> logging.Handler:
        """The handler that exports log lines. It is part of no logger."""
        ...

    def export(self, samples: Sequence[Sample]) -> bool:
        """Send amounts. Returns `False` if they should be sent again."""
        ...

    def span(self, span: Span) -> None:
        """Send a span."""
        ...

    def flush(self) -> None:
        """Send spans and log lines that wait."""
        ...

    def shutdown(self) -> None:
        """Send what waits, and end all threads."""
        ...


class WaitingLines(logging.Handler):
    """Keeps the newest log lines until there is a handler that exports them. From then on it passes lines to that."""

    def __init__(self) -> None:
        super().__init__()
        self._records: deque[logging.LogRecord] = deque(maxlen=_MAX_LINES)
        self._exporting: logging.Handler | None = None
        self._changing = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        with self._changing:
            exporting = self._exporting
            if exporting is None:
                self._records.append(record)
                return
        exporting.handle(record)

    def hand_over(self, exporting: logging.Handler) -> None:
        """Pass all lines to another handler, each once and in their order. Nobody who logs waits for more than one."""
        while True:
            with self._changing:
                if not self._records:
                    self._exporting = exporting
                    return
                record = self._records.popleft()
            exporting.handle(record)

    def let_go(self) -> None:
        """Forget the other handler, so that the connections of its exporter end."""
        with self._changing:
            self._exporting = None


class ExportedTelemetry(Measurements):
    """Implements `Telemetry`.

    The thread connects when something was measured for the first time, after the first answer of the process. What is
    measured, logged or traced before waits in bounded memory.
    """

    def __init__(
        self, max_series: int, connect: Callable[[], Monitor], report: Callable[[Exception, str], None]
    ) -> None:
        """`connect` imports and configures an exporter, which takes half a second of CPU.

        `report` tells of an error, and what becomes of the telemetry.
        """
        super().__init__(max_series)
        self._report = report
        self._connect = connect
        self._samples = Samples(self)
        self._spans: deque[Span] = deque(maxlen=_MAX_SPANS)
        self._lines = WaitingLines()
        self._wake = threading.Event()
        self._waiters: deque[Callable[[], None]] = deque()
        self._is_ending = False
        self._has_failed = False
        self._thread: threading.Thread | None = None
        _logger.addHandler(self._lines)

    def trace(self, span: Span) -> None:
        self._spans.append(span)

    def fold(self) -> None:
        super().fold()
        self.start()

    def start(self) -> None:
        """Begin to connect and to export, in the background. Harmless if it has begun."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="telemetry", daemon=True)
            self._thread.start()

    async def flush(self) -> None:
        self.fold()
        loop, flushed = asyncio.get_running_loop(), asyncio.Event()

        def tell() -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(flushed.set)

        self._waiters.append(tell)
        self._wake.set()
        if self._has_failed:
            self._tell_waiters()
        with suppress(TimeoutError):
            async with asyncio.timeout(FLUSH_SECONDS):
                await flushed.wait()

    async def aclose(self) -> None:
        """Export what is left, and end the thread. Returns after some seconds, also if the monitor is silent."""
        self._is_ending = True
        await self.flush()
        _logger.removeHandler(self._lines)

    def finish(self) -> None:
        """Export what was logged until now, and end, in the background. Nothing waits for it."""
        _logger.removeHandler(self._lines)
        self._is_ending = True
        self._waiters.append(lambda: None)
        self._wake.set()
        self.start()

    def _run(self) -> None:
        try:
            monitor = self._connect()
        except Exception as error:  # noqa: BLE001 - a defect of a library; nobody else can catch it
            self._report(error, "Nothing is exported, because the exporter could not be configured.")
            _logger.removeHandler(self._lines)
            self._has_failed = True
            self._tell_waiters()
            return
        self._lines.hand_over(monitor.lines)
        waited = 0.0
        while not self._is_ending or self._waiters:
            is_asked = self._wake.wait(_SPAN_SECONDS)
            self._wake.clear()
            waited += _SPAN_SECONDS
            is_due = is_asked or waited >= EXPORT_SECONDS
            waited = 0.0 if is_due else waited
            try:
                self._send_spans(monitor)
                if is_due:
                    self._send(monitor)
            except Exception as error:  # noqa: BLE001 - a defect of a library; what it did not take is left out
                self._report(error, "The exporter failed. It goes on with what comes next.")
                if self._waiters:
                    self._wake.set()
        _logger.removeHandler(self._lines)
        self._lines.let_go()
        monitor.shutdown()

    def _send_spans(self, monitor: Monitor) -> None:
        while self._spans:
            monitor.span(self._spans.popleft())

    def _send(self, monitor: Monitor) -> None:
        """Export amounts. For those who wait, also spans and lines."""
        waiting = len(self._waiters)
        try:
            self._send_amounts(monitor)
            if waiting:
                monitor.flush()
        finally:
            self._tell_waiters(waiting)

    def _send_amounts(self, monitor: Monitor) -> None:
        """Export amounts, some at once. What was accepted is not sent again if a later part fails."""
        samples = self._samples.take()
        while samples and monitor.export(samples[:_AT_ONCE]):
            self._samples.confirm(samples[:_AT_ONCE])
            samples = samples[_AT_ONCE:]
        self._samples.put_back(samples)

    def _tell_waiters(self, most: int = 1000) -> None:
        """Tell those who wait the longest that nothing more is sent for them now."""
        with suppress(IndexError):  # the loop's thread may tell them, too
            for _ in range(most):
                self._waiters.popleft()()
