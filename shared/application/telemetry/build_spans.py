"""Make spans from the recorded times of a request that has ended.

Attributes follow OpenTelemetry's conventions where it has them. None holds a prompt or an answer.
https://opentelemetry.io/docs/specs/semconv/gen-ai/azure-ai-inference/
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Final

from shared.application.structured_log import BACKEND, ERROR, REQUEST, STATUS, TENANT
from shared.application.telemetry.attempt_trace import AttemptTrace, gen_ai_operation
from shared.domain.ledger.entries import Attempt, Outcome, Reservation
from shared.domain.pricing.money import PUSD_PER_USD
from shared.domain.telemetry.instruments import COST
from shared.domain.telemetry.spans import Span
from shared.domain.values import record

if TYPE_CHECKING:
    from shared.application.telemetry.request_trace import RequestTrace

PROVIDER: Final = "azure.ai.openai"
LEFT_OUT: Final = "gateway.traces_left_out"
_DEPLOYMENT: Final = "gateway.deployment"
_NS: Final = 1_000_000_000


@record
class Ended:
    """The end of a request."""

    status: int
    code: str
    at: float
    """Monotonic seconds."""
    moment: datetime
    sampled_percent: float
    left_out: int
    """Requests of the same kind that got no trace, because there were too many in a second."""


def spans_of(trace: RequestTrace, ended: Ended, hashed: Callable[[str, str], str]) -> Iterator[Span]:
    """Yield the span of a request, and those of its attempts that were sent. `hashed` hides who the user is."""
    ended_ns = int(ended.moment.timestamp() * 1_000_000) * 1000

    def moment(seconds: float) -> int:
        return ended_ns - int((ended.at - seconds) * _NS)

    settled = [each for each in trace.attempts if each.outcome is not None and each.sent_at]
    context = trace.context
    attributes: dict[str, str | int | float] = {
        "http.request.method": "POST",
        "http.route": trace.operation,
        STATUS: ended.status,
        REQUEST: trace.request_id,
        TENANT: trace.tenant_id,
        _DEPLOYMENT: trace.deployment,
        "gateway.attempts": len(trace.attempts),
    }
    if ended.code:
        attributes[ERROR] = ended.code
    if ended.left_out:
        attributes[LEFT_OUT] = ended.left_out
    if settled:
        attributes["enduser.pseudo.id"] = hashed(trace.tenant_id, _facts(settled[0]).user)
    yield Span(
        name=f"POST {trace.operation}",
        is_server=True,
        trace_id=trace.trace_id,
        span_id=trace.span_id,
        parent_id=context.span_id if context is not None else "",
        has_remote_parent=context is not None,
        started_ns=moment(trace.started_at),
        ended_ns=ended_ns,
        attributes=attributes,
        error=ended.code if ended.status >= 500 else "",
        sampled_percent=ended.sampled_percent,
    )
    for each in settled:
        yield _attempt_span(trace, each, moment, ended.sampled_percent)


def _attempt_span(
    trace: RequestTrace, attempt: AttemptTrace, moment: Callable[[float], int], sampled_percent: float
) -> Span:
    facts, outcome = _facts(attempt), _outcome(attempt)
    operation = gen_ai_operation(facts.operation)
    return Span(
        name=f"{operation} {facts.model}",
        is_server=False,
        trace_id=trace.trace_id,
        span_id=_reserved(attempt).rid[16:],
        parent_id=trace.span_id,
        has_remote_parent=False,
        started_ns=moment(attempt.sent_at),
        ended_ns=moment(attempt.ended_at),
        attributes=_attributes(operation, attempt, facts, outcome),
        error=outcome.error_code,
        sampled_percent=sampled_percent,
    )


def _attributes(
    operation: str, attempt: AttemptTrace, facts: Attempt, outcome: Outcome
) -> dict[str, str | int | float]:
    usage = outcome.usage
    attributes: dict[str, str | int | float] = {
        "gen_ai.operation.name": operation,
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": facts.model,
        "gen_ai.response.model": (outcome.served or facts).model,
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_input,
        STATUS: attempt.status,
        BACKEND: facts.backend,
        "gateway.region": facts.region,
        _DEPLOYMENT: facts.deployment,
        COST.name: outcome.amount.pusd / PUSD_PER_USD,
        "gateway.streamed": int(facts.streamed),
    }
    if outcome.error_code:
        attributes[ERROR] = outcome.error_code
    return attributes


def _reserved(attempt: AttemptTrace) -> Reservation:
    assert attempt.reservation is not None, "it is settled"
    return attempt.reservation


def _facts(attempt: AttemptTrace) -> Attempt:
    return _reserved(attempt).attempt


def _outcome(attempt: AttemptTrace) -> Outcome:
    assert attempt.outcome is not None, "it is settled"
    return attempt.outcome
