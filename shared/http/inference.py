"""The inference routes: what Azure OpenAI clients already speak."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from shared.application.ports import InferenceFormat
from shared.application.serve_inference import MAX_USER_CHARACTERS, InferenceCall, Served
from shared.composition import Gateway
from shared.domain.errors import InvalidRequest
from shared.domain.money import usd
from shared.http.endpoint import endpoint
from shared.http.errors import rate_headers
from shared.http.requests import api_version_of, headers_of, path_segment, read_body, tenant_principal
from shared.http.streaming import EventStreamResponse

_DEPLOYMENT_SEGMENT: Final = 2
_BODY_HEADERS: Final = {"content-type": "application/json", "accept-encoding": "identity"}
_FORWARDED_HEADERS: Final = tuple(
    (name.encode(), name)
    for name in ("accept", "user-agent", "openai-beta", "x-ms-client-request-id", "x-ms-useragent")
)
_OWN_HEADERS: Final = frozenset(
    name.encode()
    for name in (
        "connection", "keep-alive", "proxy-authenticate", "proxy-connection", "te", "trailer", "transfer-encoding",
        "upgrade", "content-length", "date", "server", "set-cookie", "location", "operation-location",
        "x-ratelimit-limit-requests", "x-ratelimit-limit-tokens", "x-ratelimit-remaining-requests",
        "x-ratelimit-remaining-tokens", "x-ratelimit-reset-requests", "x-ratelimit-reset-tokens",
    )
)  # fmt: skip


@endpoint
async def chat_completions(gateway: Gateway, request: Request, request_id: str) -> Response:
    """`POST /openai/deployments/{deployment}/chat/completions?api-version=`."""
    deployment = path_segment(request, _DEPLOYMENT_SEGMENT)
    return await _infer(gateway, request, request_id, gateway.chat_completions, "chat/completions", deployment)


@endpoint
async def chat_completions_v1(gateway: Gateway, request: Request, request_id: str) -> Response:
    """`POST /openai/v1/chat/completions`: the body's `model` names the deployment."""
    return await _infer(gateway, request, request_id, gateway.chat_completions, "chat/completions", None)


async def _infer(
    gateway: Gateway, request: Request, request_id: str, wire: InferenceFormat, operation: str, deployment: str | None
) -> Response:
    headers = headers_of(request)
    caller = await tenant_principal(gateway, headers)
    api_version = api_version_of(request)
    if deployment is not None and not api_version:
        raise InvalidRequest("The query parameter 'api-version' is required.", "api-version")
    body = await read_body(request, headers, gateway.settings.max_body_bytes)
    forwarded = {name: headers[sent].decode("latin-1") for sent, name in _FORWARDED_HEADERS if sent in headers}
    forwarded |= _BODY_HEADERS
    user = headers.get(b"x-gateway-user", b"").decode("latin-1")[:MAX_USER_CHARACTERS]
    call = InferenceCall(request_id, body, deployment, operation, api_version, forwarded, user)
    served = await gateway.serve_inference(caller, call, wire)
    response_headers = _response_headers(served, request_id)
    if served.stream is not None:
        return EventStreamResponse(served.stream, response_headers, gateway.settings.keep_alive_seconds)
    return _PassedOn(served, response_headers)


class _PassedOn(Response):
    """Upstream's own status, headers and bytes."""

    def __init__(self, served: Served, headers: list[tuple[bytes, bytes]]) -> None:  # skips building default headers
        self.status_code = served.status
        self.body = served.body
        self.background = None
        self.raw_headers = [*headers, (b"content-length", str(len(served.body)).encode())]


def _response_headers(served: Served, request_id: str) -> list[tuple[bytes, bytes]]:
    """Upstream's own headers, without those of its connection and its limits, and the gateway's."""
    kept = [(name, value) for raw, value in served.headers if (name := raw.lower()) not in _OWN_HEADERS]
    backend, balance = served.backend, served.balance
    kept += [
        (b"x-gateway-request-id", request_id.encode()),
        (b"x-gateway-backend", backend.backend_id.encode("latin-1", "replace")),
        (b"x-gateway-region", backend.region.encode("latin-1", "replace")),
        (b"x-gateway-attempts", b"1"),
        (b"x-gateway-cache", b"bypass"),
    ]
    if balance.available_tokens is not None:
        kept.append((b"x-gateway-quota-remaining-tokens", b"%d" % balance.available_tokens))
    if balance.available_pusd is not None:
        kept.append((b"x-gateway-budget-remaining-usd", usd(balance.available_pusd).encode()))
    kept += [(name.encode(), text.encode()) for name, text in rate_headers(served.rates).items()]
    return kept
