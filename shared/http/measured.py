"""Measure requests: those that are served, and those that are answered with an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starlette.requests import Request

from shared.application.ports.telemetry import Telemetry
from shared.application.telemetry.request_trace import TRACEPARENT, TRACESTATE, RequestTrace, RequestTraces
from shared.domain.telemetry.instruments import REFUSALS

_TRACE: Final = "tallygate.trace"
_PARENT: Final = TRACEPARENT.encode()
_STATE: Final = TRACESTATE.encode()


def begin_trace(
    traces: RequestTraces, request: Request, headers: Mapping[bytes, bytes], request_id: str, operation: str
) -> RequestTrace:
    """Begin the trace of an inference request, and keep it with the request for the case of an error."""
    trace = traces.begin(request_id, operation, headers.get(_PARENT), headers.get(_STATE, b""))
    request.scope[_TRACE] = trace
    return trace


def measure_refusal(telemetry: Telemetry, request: Request, status: int, code: str) -> None:
    """Measure a request that is answered with an error of the gateway."""
    trace: RequestTrace | None = request.scope.get(_TRACE)
    if trace is None:
        telemetry.add(REFUSALS, 1, code, str(status), "")
    else:
        trace.traces.refused(trace, status, code)


def deployment_of(request: Request) -> str:
    """Return the deployment that a request is for; empty if it is none of the gateway's."""
    trace: RequestTrace | None = request.scope.get(_TRACE)
    return trace.deployment if trace is not None else ""
