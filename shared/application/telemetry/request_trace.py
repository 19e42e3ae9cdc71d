"""The recorded times and the result of one request, and the measurements and spans that follow from them."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import field
from random import random
from typing import Final

from shared.application.per_second import PerSecond
from shared.application.ports.clock import Clock
from shared.application.ports.telemetry import Telemetry
from shared.application.telemetry.attempt_trace import AttemptTrace
from shared.application.telemetry.build_spans import Ended, spans_of
from shared.application.telemetry.request_cells import RequestCells, status_text
from shared.domain.telemetry.instruments import REFUSALS
from shared.domain.telemetry.trace_context import CallerContext, caller_context
from shared.domain.values import state, value

TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
"""Headers by which a trace is continued."""
_FIRST_ERROR: Final = 400
_PER_SECOND: Final = 5
"""The most traces of one kind of trouble a second. Callers could cause any number of them."""


@value
class TracePolicy:
    """The part of sound requests that get a trace, and the seconds from which a request is slow."""

    ratio: float
    slow_seconds: float


@state
class RequestTrace:
    """One request."""

    traces: RequestTraces
    request_id: str
    operation: str
    context: CallerContext | None
    is_sampled: bool
    started_at: float
    """Monotonic seconds."""
    tenant_id: str = ""
    deployment: str = ""
    """Known tenants and deployments only, because callers may name any."""
    attempts: list[AttemptTrace] = field(default_factory=list)

    @property
    def trace_id(self) -> str:
        """The caller's trace, else a new one with the id of the request, so that log lines name it."""
        return self.request_id if self.context is None else self.context.trace_id

    @property
    def span_id(self) -> str:
        """The random half of the request's id."""
        return self.request_id[16:]

    def traceparent(self, rid: str) -> str:
        """Return the header by which a backend continues the trace, for the attempt with this reservation.

        The span of the attempt has the random half of that id.
        """
        context, is_sampled = self.context, self.is_sampled
        trace_id = self.request_id if context is None else context.trace_id
        return f"00-{trace_id}-{rid[16:]}-{'01' if is_sampled else '00'}"

    def attempt(self) -> AttemptTrace:
        """Begin another attempt."""
        begun = AttemptTrace(measure=self.traces.measure)
        self.attempts.append(begun)
        return begun


class RequestTraces:
    """Begins and ends the traces of all requests of a process."""

    def __init__(self, telemetry: Telemetry, clock: Clock, policy: TracePolicy) -> None:
        self._telemetry = telemetry
        self._monotonic = clock.monotonic
        self._clock = clock
        self._ratio = policy.ratio
        self._slow_seconds = policy.slow_seconds
        self._cells = RequestCells(telemetry)
        self._bound = PerSecond()
        self._user_key = secrets.token_bytes(32)
        """Hashes of users can be compared within a process. Nobody can find out who it was."""
        self._is_exported = telemetry.is_exported
        self.measure = self._cells.add_attempt if telemetry.is_exported else None

    def begin(
        self, request_id: str, operation: str, traceparent: bytes | None = None, tracestate: bytes = b""
    ) -> RequestTrace:
        """Begin the trace of a request: that of its caller, or a new one."""
        context = caller_context(traceparent, tracestate) if traceparent else None
        return RequestTrace(
            traces=self,
            request_id=request_id,
            operation=operation,
            context=context,
            is_sampled=random() < self._ratio,  # noqa: S311 - no secret
            started_at=self._monotonic(),
        )

    def detached_attempt(self) -> AttemptTrace:
        """Begin an attempt that belongs to no request, because a timer settles it."""
        return AttemptTrace(measure=self.measure)

    def answered(self, trace: RequestTrace, status: int, *, is_stream: bool) -> None:
        """Measure a request whose answer begins, or is complete. A stream ends later."""
        if not self._is_exported:
            return
        now = self._monotonic()
        added = now - trace.started_at
        for attempt in trace.attempts:
            if attempt.sent_at:
                added -= (attempt.ended_at or attempt.head_at or now) - attempt.sent_at
        self._cells.add_request(trace.tenant_id, trace.deployment, trace.operation, status, added)
        if not is_stream and self._is_wanted(trace, status, "", now):
            self._end(trace, status, "", now)

    def stream_ended(self, trace: RequestTrace, attempt: AttemptTrace) -> None:
        """End a request whose stream, of this attempt, was booked or left to a timer."""
        if not self._is_exported:
            return
        code = attempt.outcome.error_code if attempt.outcome is not None else ""
        now = self._monotonic()
        if self._is_wanted(trace, attempt.status, code, now):
            self._end(trace, attempt.status, code, now)

    def refused(self, trace: RequestTrace, status: int, code: str) -> None:
        """Measure a request that was answered with an error of the gateway."""
        if not self._is_exported:
            return
        self._cells.add_request(trace.tenant_id, trace.deployment, trace.operation, status, None)
        self._telemetry.add(REFUSALS, 1, code, str(status), trace.deployment)
        self._end(trace, status, code, self._monotonic())

    def _is_wanted(self, trace: RequestTrace, status: int, code: str, now: float) -> bool:
        """Tell whether a request that has ended may get a trace."""
        return trace.is_sampled or bool(self._trouble(trace, status, code, now))

    def _trouble(self, trace: RequestTrace, status: int, code: str, now: float) -> str:
        """Return the reason for which every such request gets a trace; empty if there is none."""
        if status >= _FIRST_ERROR or code:
            return f"status {status_text(status)}"
        if len(trace.attempts) > 1:
            return "several attempts"
        return "slow" if now - trace.started_at >= self._slow_seconds else ""

    def _end(self, trace: RequestTrace, status: int, code: str, now: float) -> None:
        """Make the spans of a request that has ended."""
        trouble = self._trouble(trace, status, code, now)
        if trouble and not self._bound.admit(trouble, _PER_SECOND):
            return
        ended = Ended(
            status=status,
            code=code,
            at=now,
            moment=self._clock.now(),
            sampled_percent=100 if trouble else 100 * self._ratio,
            left_out=self._bound.take_left_out(trouble),
        )
        for span in spans_of(trace, ended, self._hashed):
            self._telemetry.trace(span)

    def _hashed(self, tenant_id: str, user: str) -> str:
        return hashlib.blake2b(f"{tenant_id}/{user}".encode(), key=self._user_key, digest_size=16).hexdigest()
