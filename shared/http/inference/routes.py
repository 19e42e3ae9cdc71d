"""The routes of every inference operation. To add an operation, see `shared/http/operation_table.py`."""

from __future__ import annotations

from collections.abc import Awaitable
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from shared.adapters.request_bodies import is_large
from shared.application.inference.incoming_call import IncomingCall
from shared.composition.inference import Inference
from shared.domain.identity.role import INFERENCE
from shared.domain.routing.paths import V1
from shared.domain.tenancy.pseudonyms import MAX_USER_CHARACTERS
from shared.http.callers import tenant_principal
from shared.http.endpoint import for_inference
from shared.http.inference.answers import answer
from shared.http.inference.api_version import DATED, api_version_of
from shared.http.inference.headers import forwarded_headers, headers_of_served
from shared.http.measured import begin_trace
from shared.http.operation_table import BELOW_DEPLOYMENT
from shared.http.requests import headers_of, path_segment, wait_for_disconnect

_DEPLOYMENT_SEGMENT: Final = 2
_JSON: Final = "application/json"


def dated(operation: str, request: Request) -> Awaitable[Response]:
    """Serve an operation of the dated API: `POST /openai/deployments/{deployment}/{operation}?api-version=`.

    Responses are created at `POST /openai/responses?api-version=`, where the body's `model` names the deployment.
    """
    return _infer(request, operation, DATED)


def v1(operation: str, request: Request) -> Awaitable[Response]:
    """Serve `POST /openai/v1/{operation}`: the body's `model` names the deployment."""
    return _infer(request, operation, V1)


@for_inference
async def _infer(inference: Inference, request: Request, request_id: str, operation: str, base: str) -> Response:
    format_ = inference.formats[operation]
    headers = headers_of(request)
    trace = begin_trace(inference.traces, request, headers, request_id, operation)
    caller = await tenant_principal(inference.authenticate, request, headers, inference.trusted_proxy_hops, INFERENCE)
    trace.tenant_id = caller.tenant.tenant_id
    is_below_deployment = base == DATED and operation in BELOW_DEPLOYMENT
    deployment = path_segment(request, _DEPLOYMENT_SEGMENT) if is_below_deployment else None
    api_version = api_version_of(request, base)
    has_large_body = is_large(headers)
    if (check := inference.before_body.check(caller.tenant, has_large_body)) is not None:
        await check
    held = inference.bodies.hold(caller.tenant.tenant_id, headers) if has_large_body else None
    try:
        body = await inference.bodies.read(request.receive, headers, held)
        content_type = headers.get(b"content-type", b"").decode("latin-1") if format_.is_multipart else _JSON
        forwarded = forwarded_headers(headers, trace)
        forwarded["content-type"] = content_type
        call = IncomingCall(
            request_id=request_id,
            trace=trace,
            body=body,
            content_type=content_type,
            deployment=deployment,
            base=base,
            api_version=api_version,
            headers=forwarded,
            user=headers.get(b"x-gateway-user", b"").decode("latin-1")[:MAX_USER_CHARACTERS],
            wait_for_disconnect=partial(wait_for_disconnect, request),
        )
        served = await inference.serve(caller, call, format_)
    finally:
        if held is not None:
            held.release()
    response = answer(served, headers_of_served(served, request_id), inference.reader_times)
    inference.traces.answered(trace, served.status, is_stream=served.stream is not None)
    return response
