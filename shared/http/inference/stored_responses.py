"""The routes below `/responses/{response}`: only the tenant that created a response may use them."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from shared.application.inference.serve_stored_responses import ResponseCall
from shared.composition.inference import Inference
from shared.domain.identity.role import INFERENCE
from shared.domain.routing.paths import V1
from shared.http.callers import tenant_principal
from shared.http.endpoint import for_inference
from shared.http.inference.answers import answer
from shared.http.inference.api_version import DATED, api_version_of
from shared.http.inference.headers import forwarded_headers, headers_of_stored
from shared.http.measured import begin_trace
from shared.http.requests import headers_of, path_segment

_OPERATION: Final = "responses"
_FORWARDED_QUERY: Final = frozenset(
    {"api-version", "include", "include[]", "include_obfuscation", "stream", "starting_after",
     "limit", "order", "after", "before"}
)  # fmt: skip


def dated(request: Request, part: str = "") -> Awaitable[Response]:
    """Serve `{method} /openai/responses/{response}{part}?api-version=`."""
    return _forward(request, DATED, part)


def v1(request: Request, part: str = "") -> Awaitable[Response]:
    """Serve `{method} /openai/v1/responses/{response}{part}`."""
    return _forward(request, V1, part)


@for_inference
async def _forward(inference: Inference, request: Request, request_id: str, base: str, part: str) -> Response:
    """Forward the request with its own method: the host calls a route only with the methods that it declares."""
    headers = headers_of(request)
    trace = begin_trace(inference.traces, request, headers, request_id, _OPERATION)
    caller = await tenant_principal(inference.authenticate, request, headers, inference.trusted_proxy_hops, INFERENCE)
    trace.tenant_id = caller.tenant.tenant_id
    api_version_of(request, base)
    asked = [(name, text) for name, text in request.query_params.multi_items() if name in _FORWARDED_QUERY]
    call = ResponseCall(
        method=request.method,
        base=base,
        response_id=path_segment(request, base.count("/") + 1),
        part=part,
        query=urlencode(asked),
        headers=forwarded_headers(headers, trace),
    )
    response = await inference.stored_responses(caller, call)
    inference.traces.answered(trace, response.status, is_stream=False)
    return answer(response, headers_of_stored(response, request_id), inference.reader_times)
