"""Deliver the alerts in the outbox to their sinks: each once as a rule, and at least once."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from shared.application.alerts.end_deliveries import SINK, EndDeliveries
from shared.application.alerts.log_alert import log_alert
from shared.application.ports.alerts import (
    AlertDeliveries,
    AlertOutbox,
    AlertSender,
    DamagedDelivery,
    SinkDirectory,
    SinkFailed,
)
from shared.application.ports.clock import Clock
from shared.application.structured_log import COUNT, MESSAGE, log_event
from shared.application.sweep import Failures
from shared.domain.alerts.delivery import Delivery
from shared.domain.alerts.event import AlertEvent
from shared.domain.alerts.sink import AlertSink
from shared.domain.values import value

LEASE: Final = timedelta(minutes=2)
"""The time for which a process that begins a try has the delivery. It is longer than a run and its last try."""
SLICE_SECONDS: Final = 40.0
"""The time of a run after which no further try begins, so that the next run is not late."""
_FAN_OUT_SECONDS: Final = 20.0
"""The part of it that new events may take, so that what waits already is sent in any case."""
_EVENTS_AT_ONCE: Final = 8
_SINKS_AT_ONCE: Final = 8
_SINKS_A_RUN: Final = 31
"""About the number of sinks that one run reaches if all of them stall. A prime, so that the first one changes."""
_TRIES_AT_ONCE: Final = 4
"""Requests to one sink at the same time."""
_PAGE: Final = 500
_FAILURES_IN_A_ROW: Final = 3
"""A sink that could not be reached so often is left alone until the next run."""


@value
class Delivered:
    """The result of one run."""

    fanned_out: int
    delivered: int


class DeliverAlerts:
    """The use case of the timer `deliver_alerts`. Running late, twice or never is harmless.

    - The line of a new event is written and exported first. A process that dies after that leaves a second line.
    - Then the event becomes one delivery for each sink that wants it.
    - A delivery is leased by its ETag before it is sent. A process that dies leaves it to the next one.
    - A sink that fails or stalls delays no other, and a delivery that fails delays no other for long.
    """

    def __init__(
        self,
        outbox: AlertOutbox,
        deliveries: AlertDeliveries,
        sinks: SinkDirectory,
        sender: AlertSender,
        end: EndDeliveries,
        clock: Clock,
        export_lines: Callable[[], Awaitable[None]],
        of_settings: Sequence[AlertSink] = (),
    ) -> None:
        """`export_lines` hands out the log lines of this process, in a few seconds at most, and never raises.

        `of_settings` are the platform's sinks that settings define, beside those that are stored.
        """
        self._outbox = outbox
        self._deliveries = deliveries
        self._sinks = sinks
        self._sender = sender
        self._end = end
        self._clock = clock
        self._export_lines = export_lines
        self._of_settings = of_settings
        self._told: set[str] = set()
        """The events whose line this process has written, and which it could not yet hand on."""

    async def __call__(self) -> Delivered:
        """Fan out what was raised, and try what is due. Raises `SweepFailed` at the end for what storage refused."""
        failures, began = Failures(), self._clock.monotonic()
        ends_at = began + SLICE_SECONDS
        fanned_out = await self._fan_out(began + _FAN_OUT_SECONDS, failures)
        sinks = await self.configured()
        turns = asyncio.Semaphore(_SINKS_AT_ONCE)
        counts: list[int] = []

        async def serve(sink: AlertSink) -> None:
            async with turns:
                with failures.collected(sink.sink_id.path):
                    counts.append(await self._serve(sink, ends_at, failures))

        await asyncio.gather(*(serve(sink) for sink in self._in_turn(sinks) if sink.enabled))
        failures.raise_any()
        return Delivered(fanned_out, sum(counts))

    async def configured(self) -> list[AlertSink]:
        """Return all sinks. Those that cannot be read get a log line, and nothing else waits for them."""
        stored, damaged = await self._sinks.all()
        for each in damaged:
            log_event(logging.ERROR, "gateway.alert.damaged", {SINK: each, MESSAGE: "The sink cannot be read."})
        return [*self._of_settings, *stored]

    def _in_turn(self, sinks: Sequence[AlertSink]) -> list[AlertSink]:
        """Return the platform's sinks, and then those of tenants. Each minute others of these come first.

        So sinks that stall run after run do not keep a run from the rest.
        """
        of_tenants = [sink for sink in sinks if sink.tenant_id]
        minute = int(self._clock.now().timestamp()) // 60
        first = minute * _SINKS_A_RUN % max(1, len(of_tenants))
        return [*(sink for sink in sinks if not sink.tenant_id), *of_tenants[first:], *of_tenants[:first]]

    async def _fan_out(self, ends_at: float, failures: Failures) -> int:
        """Make deliveries of new events. An event that fails stops no other. Returns the number of the others.

        The sinks are read after the events, so that a sink misses no event that was raised after it was put.
        """
        done, reached = 0, set[str]()
        waiting, sinks = deque[AlertEvent](), list[AlertSink]()

        async def worker() -> None:
            nonlocal done
            while waiting and self._clock.monotonic() < ends_at:
                event = waiting.popleft()
                with failures.collected(event.name):
                    wanting = [sink.sink_id for sink in sinks if sink.wants(event)]
                    await self._outbox.fan_out(event, wanting, self._clock.now())
                    self._told.discard(event.name)
                    done += 1

        with failures.collected("the outbox"):
            while self._clock.monotonic() < ends_at:
                events, set_aside = await self._outbox.raised(_PAGE)
                for each in set_aside:
                    log_event(logging.ERROR, "gateway.alert.damaged", {MESSAGE: f"The row {each} holds no event."})
                waiting.extend(event for event in events if event.name not in reached)
                if not waiting and not set_aside:
                    break
                reached.update(event.name for event in waiting)
                await self._tell(waiting)
                sinks = [*self._of_settings, *(await self._sinks.all())[0]]
                await asyncio.gather(*(worker() for _ in range(_EVENTS_AT_ONCE)))
        return done

    async def _tell(self, events: Iterable[AlertEvent]) -> None:
        """Write and export the lines of new events."""
        new = await self._new([event for event in events if event.name not in self._told])
        for event in new:
            log_alert(event)
            self._told.add(event.name)
        if new:
            await self._export_lines()

    async def _new(self, events: Sequence[AlertEvent]) -> list[AlertEvent]:
        """Return the events that were not fanned out before. The rows of others were left, or written again."""
        turns = asyncio.Semaphore(_EVENTS_AT_ONCE)

        async def was_fanned_out(event: AlertEvent) -> bool:
            async with turns:
                return await self._outbox.was_fanned_out(event)

        old = await asyncio.gather(*map(was_fanned_out, events))
        return [event for event, is_old in zip(events, old, strict=True) if not is_old]

    async def _serve(self, sink: AlertSink, ends_at: float, failures: Failures) -> int:
        """Try what is due for one sink, the longest waiting first. Returns the number of events that arrived."""
        due, damaged = await self._due(sink)
        run = _Run(deque(self._batches(sink, due)), ends_at, failures)

        async def worker() -> None:
            while run.batches and not self._is_over(run) and run.in_a_row < _FAILURES_IN_A_ROW:
                batch = run.batches.popleft()
                with failures.collected(sink.sink_id.path):
                    await self._try(sink, batch, run)

        await asyncio.gather(*(worker() for _ in range(_TRIES_AT_ONCE)))
        await self._set_aside(sink, damaged, run)
        if run.reasons:
            fields: dict[str, str | int] = {SINK: sink.sink_id.path, COUNT: len(run.reasons), MESSAGE: run.reasons[-1]}
            log_event(logging.WARNING, "gateway.alert.undelivered", fields)
        return run.delivered

    async def _due(self, sink: AlertSink) -> tuple[list[Delivery], list[DamagedDelivery]]:
        """Return the deliveries that are due, the longest waiting first, and those that cannot be read."""
        now, after = self._clock.now(), ""
        due, damaged = list[Delivery](), list[DamagedDelivery]()
        while True:
            page = await self._deliveries.waiting(sink.sink_id, _PAGE, after)
            damaged += page.damaged
            due += [delivery for delivery in page.deliveries if delivery.due <= now]
            if not (after := page.after):
                return sorted(due, key=lambda each: each.due), damaged

    async def _set_aside(self, sink: AlertSink, damaged: Sequence[DamagedDelivery], run: _Run) -> None:
        """Take damaged deliveries out of those that wait, and write a line for each, as far as time allows."""
        for each in damaged:
            if self._is_over(run):
                break
            with run.failures.collected(f"{sink.sink_id.path}: {each.key}"):
                if await self._deliveries.set_aside(each):
                    told = f"The delivery {each.key} cannot be read, and is set aside."
                    log_event(logging.ERROR, "gateway.alert.damaged", {SINK: sink.sink_id.path, MESSAGE: told})

    def _batches(self, sink: AlertSink, due: Sequence[Delivery]) -> list[list[Delivery]]:
        size = self._sender.batch_size(sink)
        return [[*due[at : at + size]] for at in range(0, len(due), size)]

    async def _try(self, sink: AlertSink, batch: Sequence[Delivery], run: _Run) -> None:
        """Send a batch once. If the sink refuses several events at once, each is sent alone: one may be the cause."""
        leased = [each async for each in self._begun(sink, batch, run)]
        if not leased:
            return
        try:
            await self._sender.send(sink, [each.event for each in leased])
        except SinkFailed as failure:
            if len(leased) > 1 and failure.is_reachable:
                for each in leased:
                    await (self._hand_back(each) if self._is_over(run) else self._send_alone(sink, each, run))
            else:
                await self._failed(leased, failure, run)
        else:
            await self._succeeded(leased, run)

    async def _begun(self, sink: AlertSink, batch: Sequence[Delivery], run: _Run) -> AsyncIterator[Delivery]:
        """Yield the deliveries of a batch whose try begins. One that storage refuses stops no other."""
        for delivery in batch:
            leased = None
            with run.failures.collected(f"{sink.sink_id.path}: {delivery.event.name}"):
                leased = None if self._is_over(run) else await self._leased(sink, delivery)
            if leased is not None:
                yield leased

    async def _send_alone(self, sink: AlertSink, delivery: Delivery, run: _Run) -> None:
        try:
            await self._sender.send(sink, [delivery.event])
        except SinkFailed as failure:
            await self._failed([delivery], failure, run)
        else:
            await self._succeeded([delivery], run)

    def _is_over(self, run: _Run) -> bool:
        return self._clock.monotonic() >= run.ends_at

    async def _hand_back(self, delivery: Delivery) -> None:
        """End a lease before its try. A batch of slow refusals must not outlast the leases of its events."""
        await self._deliveries.postpone(replace(delivery, attempts=delivery.attempts - 1), self._clock.now())

    async def _leased(self, sink: AlertSink, delivery: Delivery) -> Delivery | None:
        """Begin a try of a delivery, unless it is over, was for another sink, or another process is faster."""
        now = self._clock.now()
        if not sink.gets_events_of(delivery.event.at):
            await self._deliveries.drop(delivery)
            return None
        if delivery.is_too_old(now):
            await self._end.give_up(delivery, "It waited too long.")
            return None
        if await self._deliveries.was_delivered(delivery):
            await self._deliveries.delivered(delivery, now)
            return None
        return await self._deliveries.lease(delivery, now + LEASE)

    async def _succeeded(self, deliveries: Sequence[Delivery], run: _Run) -> None:
        """Note what has arrived. A delivery that cannot be noted is sent again, and no other because of it."""
        run.in_a_row = 0
        run.delivered += len(deliveries)
        for each in deliveries:
            with run.failures.collected(f"{each.sink_id.path}: {each.event.name}"):
                await self._deliveries.delivered(each, self._clock.now())

    async def _failed(self, deliveries: Sequence[Delivery], failure: SinkFailed, run: _Run) -> None:
        run.in_a_row = 0 if failure.is_reachable else run.in_a_row + 1
        run.reasons += [str(failure)] * len(deliveries)
        for each in deliveries:
            await self._end.failed(each, failure)


class _Run:
    """The work of one run at one sink."""

    def __init__(self, batches: deque[list[Delivery]], ends_at: float, failures: Failures) -> None:
        self.batches = batches
        self.ends_at = ends_at
        self.failures = failures
        self.delivered = 0
        self.in_a_row = 0
        self.reasons: list[str] = []
