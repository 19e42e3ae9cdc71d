"""Measurements of requests and attempts, added up before they are added to the instruments.

A request measures a dozen things under the same few names. One look-up for all of them costs a third of one look-up
for each (ADR 12). Cells are folded into the instruments each second at the latest.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from typing import Final, TypeAlias

from shared.application.ports.telemetry import Telemetry
from shared.application.telemetry.attempt_trace import AttemptTrace, gen_ai_operation
from shared.domain.content_filter import is_flagged
from shared.domain.ledger.entries import Outcome, Reservation
from shared.domain.pricing.money import PUSD_PER_USD
from shared.domain.telemetry.distribution import Distribution
from shared.domain.telemetry.instruments import (
    ADDED_LATENCY,
    CONTENT_FILTER,
    COST,
    OPERATION_DURATION,
    OTHER,
    REQUESTS,
    TOKENS,
    TTFB,
    UPSTREAM_RESPONSES,
)

_FOLD_SECONDS: Final = 1.0
_MAX_CELLS: Final = 1000
_PROMPT_REFUSED: Final = 400
_AttemptKey: TypeAlias = tuple[str, str, str, str, str, str, int, str]
"""Tenant, deployment, backend, region, model, operation, status of the backend, error code."""
_RequestKey: TypeAlias = tuple[str, str, str, int]
"""Tenant, deployment, operation, status."""


class _AttemptCell:
    __slots__ = ("cached", "duration", "input", "output", "pusd", "sent", "ttfb")

    def __init__(self) -> None:
        self.input = self.cached = self.output = self.pusd = self.sent = 0
        self.ttfb = Distribution(TTFB.bounds)
        self.duration = Distribution(OPERATION_DURATION.bounds)


class _RequestCell:
    __slots__ = ("added", "count")

    def __init__(self) -> None:
        self.count = 0
        self.added = Distribution(ADDED_LATENCY.bounds)


class RequestCells:
    """The cells of one process. Call it on the event loop's thread only."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._attempts: dict[_AttemptKey, _AttemptCell] = {}
        self._requests: dict[_RequestKey, _RequestCell] = {}
        self._timer: asyncio.TimerHandle | None = None
        telemetry.before_flush(self.fold)

    def add_attempt(self, trace: AttemptTrace, reservation: Reservation, outcome: Outcome) -> None:
        """Measure an attempt that is being settled."""
        facts, usage = outcome.served or reservation.attempt, outcome.usage
        key = (
            reservation.lane.tenant_id,
            facts.deployment,
            facts.backend,
            facts.region,
            facts.model,
            facts.operation,
            trace.status,
            outcome.error_code,
        )
        cell = self._attempts.get(key)
        if cell is None:
            self._make_room()
            cell = self._attempts[key] = _AttemptCell()
        cell.input += usage.input + usage.cache_write + usage.audio_input
        cell.cached += usage.cached_input
        cell.output += usage.output + usage.audio_output
        cell.pusd += outcome.amount.pusd
        if sent_at := trace.sent_at:
            cell.sent += 1
            cell.duration.add(trace.ended_at - sent_at)
            if trace.head_at:
                cell.ttfb.counts[bisect_left(TTFB.bounds, (trace.head_at - sent_at) * 1000)] += 1
        if outcome.content_filter and is_flagged(outcome.content_filter):
            source = "prompt" if trace.status == _PROMPT_REFUSED else "completion"
            self._telemetry.add(CONTENT_FILTER, 1, facts.deployment, source)

    def add_request(
        self, tenant_id: str, deployment: str, operation: str, status: int, added_seconds: float | None
    ) -> None:
        """Measure a request, with the time that the gateway has added unless it was refused."""
        key = (tenant_id, deployment, operation, status)
        cell = self._requests.get(key)
        if cell is None:
            self._make_room()
            cell = self._requests[key] = _RequestCell()
        cell.count += 1
        if added_seconds is not None:
            cell.added.counts[bisect_left(ADDED_LATENCY.bounds, added_seconds * 1000)] += 1

    def fold(self) -> None:
        """Add all cells to the instruments."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        attempts, self._attempts = self._attempts, {}
        requests, self._requests = self._requests, {}
        for attempt_key, attempt in attempts.items():
            self._fold_attempt(attempt_key, attempt)
        for (tenant_id, deployment, operation, status), request in requests.items():
            self._telemetry.add(REQUESTS, request.count, tenant_id, deployment, operation, status_text(status))
            self._telemetry.merge(ADDED_LATENCY, request.added, operation)

    def _fold_attempt(self, key: _AttemptKey, cell: _AttemptCell) -> None:
        tenant_id, deployment, backend, region, model, operation, status, error_code = key
        telemetry = self._telemetry
        for kind, tokens in (("input", cell.input), ("cached_input", cell.cached), ("output", cell.output)):
            if tokens:
                telemetry.add(TOKENS, tokens, tenant_id, deployment, kind)
        if cell.pusd:
            telemetry.add(COST, cell.pusd / PUSD_PER_USD, tenant_id, deployment)
        if cell.sent:
            telemetry.add(UPSTREAM_RESPONSES, cell.sent, backend, region, deployment, status_text(status))
            telemetry.merge(TTFB, cell.ttfb, deployment, backend)
            telemetry.merge(OPERATION_DURATION, cell.duration, gen_ai_operation(operation), model, error_code)

    def _make_room(self) -> None:
        """Make room for a new cell, which is folded in a second at the latest."""
        if len(self._attempts) + len(self._requests) >= _MAX_CELLS:
            self.fold()
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_FOLD_SECONDS, self.fold)


def status_text(status: int) -> str:
    """Return a status as a dimension. A backend may state any number: those of no class of HTTP are `other`."""
    return str(status) if status == 0 or 100 <= status < 600 else OTHER
