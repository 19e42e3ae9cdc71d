"""The inference routes: what Azure OpenAI clients already speak."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache, partial
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from shared.application.inference.attempt_backend import Served
from shared.application.inference.incoming_call import MAX_USER_CHARACTERS, IncomingCall
from shared.application.inference.serve_stored_responses import ResponseCall
from shared.application.tenancy.authenticate import TenantPrincipal
from shared.composition.gateway import Gateway
from shared.domain.errors import InvalidRequest
from shared.domain.pricing.money import usd
from shared.domain.routing.catalog import Backend
from shared.http.endpoint import Endpoint, endpoint, for_tenants, json_response
from shared.http.errors import rate_headers
from shared.http.inference.streaming import EventStreamResponse
from shared.http.requests import (
    api_version_of,
    headers_of,
    path_segment,
    read_body,
    tenant_principal,
    wait_for_disconnect,
)

_DEPLOYMENT_SEGMENT: Final = 2
_MODEL_SEGMENT: Final = 3
_JSON: Final = "application/json"
_DATED: Final = "/openai"
_V1: Final = "/openai/v1"
_DATED_VERSION: Final = re.compile(r"\d{4}-\d{2}-\d{2}(-preview)?")
_RESPONSE_QUERY: Final = frozenset(
    {"api-version", "include", "include[]", "include_obfuscation", "stream", "starting_after",
     "limit", "order", "after", "before"}
)  # fmt: skip
_MULTIPART: Final = frozenset({"audio/transcriptions", "audio/translations"})
_CLIENT_REQUEST_ID: Final = "x-ms-client-request-id"
_FORWARDED_HEADERS: Final = tuple(
    (name.encode(), name) for name in ("accept", "user-agent", "openai-beta", _CLIENT_REQUEST_ID, "x-ms-useragent")
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


async def _infer(
    gateway: Gateway,
    request: Request,
    request_id: str,
    *,
    operation: str,
    base: str = _DATED,
    is_deployment_in_path: bool = False,
) -> Response:
    headers = headers_of(request)
    caller = await tenant_principal(gateway, headers)
    deployment = path_segment(request, _DEPLOYMENT_SEGMENT) if is_deployment_in_path else None
    api_version = api_version_of(request)
    if base == _DATED:
        _check_dated(api_version)
    body = await read_body(request, headers, gateway.settings.max_body_bytes)
    content_type = _JSON
    if operation in _MULTIPART:
        content_type = headers.get(b"content-type", b"").decode("latin-1")
    forwarded = _forwarded(headers, request_id)
    forwarded["content-type"] = content_type
    user = headers.get(b"x-gateway-user", b"").decode("latin-1")[:MAX_USER_CHARACTERS]
    call = IncomingCall(
        request_id=request_id,
        body=body,
        content_type=content_type,
        deployment=deployment,
        base=base,
        api_version=api_version,
        headers=forwarded,
        user=user,
        wait_for_disconnect=partial(wait_for_disconnect, request),
    )
    served = await gateway.inference.serve(caller, call, gateway.inference.formats[operation])
    response_headers = _response_headers(served, request_id)
    if served.stream is not None:
        return EventStreamResponse(served.stream, response_headers, gateway.settings.keep_alive_seconds)
    return _ForwardedResponse(served.status, served.body, response_headers)


def _dated(operation: str) -> Endpoint:
    """`POST /openai/deployments/{deployment}/{operation}?api-version=`."""
    return endpoint(partial(_infer, operation=operation, is_deployment_in_path=True))


def _v1(operation: str) -> Endpoint:
    """`POST /openai/v1/{operation}`: the body's `model` names the deployment."""
    return endpoint(partial(_infer, operation=operation, base=_V1))


chat_completions, chat_completions_v1 = _dated("chat/completions"), _v1("chat/completions")
completions, completions_v1 = _dated("completions"), _v1("completions")
embeddings, embeddings_v1 = _dated("embeddings"), _v1("embeddings")
images, images_v1 = _dated("images/generations"), _v1("images/generations")
transcriptions, transcriptions_v1 = _dated("audio/transcriptions"), _v1("audio/transcriptions")
translations, translations_v1 = _dated("audio/translations"), _v1("audio/translations")
speech, speech_v1 = _dated("audio/speech"), _v1("audio/speech")
create_response, create_response_v1 = endpoint(partial(_infer, operation="responses")), _v1("responses")


def _of_response(base: str, method: str, part: str = "") -> Endpoint:
    """`{method} {base}/responses/{response}{part}`: only for the tenant that created it."""

    @endpoint
    async def serve(gateway: Gateway, request: Request, request_id: str) -> Response:
        headers = headers_of(request)
        caller = await tenant_principal(gateway, headers)
        if base == _DATED:
            _check_dated(api_version_of(request))
        response_id = path_segment(request, base.count("/") + 1)
        asked = [(name, value) for name, value in request.query_params.multi_items() if name in _RESPONSE_QUERY]
        call = ResponseCall(
            method=method,
            base=base,
            response_id=response_id,
            part=part,
            query=urlencode(asked),
            headers=_forwarded(headers, request_id),
        )
        passed = await gateway.inference.stored_responses(caller, call)
        response_headers = _headers_of_backend(passed.headers, passed.backend, request_id)
        response_headers.append((b"x-gateway-attempts", b"1"))
        if passed.stream is not None:
            return EventStreamResponse(passed.stream, response_headers, gateway.settings.keep_alive_seconds)
        return _ForwardedResponse(passed.status, passed.body, response_headers)

    return serve


get_response, get_response_v1 = (_of_response(base, "GET") for base in (_DATED, _V1))
delete_response, delete_response_v1 = (_of_response(base, "DELETE") for base in (_DATED, _V1))
cancel_response, cancel_response_v1 = (_of_response(base, "POST", "/cancel") for base in (_DATED, _V1))
list_input_items, list_input_items_v1 = (_of_response(base, "GET", "/input_items") for base in (_DATED, _V1))


@for_tenants
async def list_models(gateway: Gateway, _: Request, caller: TenantPrincipal) -> Response:
    """`GET /openai/v1/models` and `GET /openai/models?api-version=`."""
    names = await gateway.inference.list_models(caller.tenant)
    return json_response({"object": "list", "data": [_model_document(name) for name in names]})


@for_tenants
async def get_model(gateway: Gateway, request: Request, caller: TenantPrincipal) -> Response:
    """`GET /openai/v1/models/{model}`."""
    name = path_segment(request, _MODEL_SEGMENT)
    return json_response(_model_document(await gateway.inference.list_models.one(caller.tenant, name)))


def _model_document(name: str) -> dict[str, object]:
    """A deployment as the SDKs expect a model; when it was made is nobody's business."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "tallygate"}


class _ForwardedResponse(Response):
    """Upstream's own status, headers and bytes."""

    def __init__(self, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self.status_code = status  # default headers need not be built
        self.body = body
        self.background = None
        self.raw_headers = [*headers, (b"content-length", str(len(body)).encode())]


@lru_cache(maxsize=64)
def _check_dated(api_version: str) -> None:
    if _DATED_VERSION.fullmatch(api_version) is None:
        raise InvalidRequest(
            "The query parameter 'api-version' is required: a date, for example 2024-10-21 or 2025-04-01-preview.",
            "api-version",
        )


def _forwarded(headers: Mapping[bytes, bytes], request_id: str) -> dict[str, str]:
    """What of a caller's headers upstream gets, and the id by which it knows the request if the caller gave none."""
    forwarded = {name: headers[sent].decode("latin-1") for sent, name in _FORWARDED_HEADERS if sent in headers}
    forwarded["accept-encoding"] = "identity"
    forwarded.setdefault(_CLIENT_REQUEST_ID, request_id)
    return forwarded


def _response_headers(served: Served, request_id: str) -> list[tuple[bytes, bytes]]:
    """Upstream's own headers, without those of its connection and its limits, and the gateway's."""
    kept, balance = _headers_of_backend(served.headers, served.backend, request_id), served.balance
    kept.append((b"x-gateway-attempts", b"%d" % served.attempts))
    if served.annotation:
        kept.append((b"x-gateway-content-filter", served.annotation.encode("latin-1", "replace")))
    if balance.available_tokens is not None:
        kept.append((b"x-gateway-quota-remaining-tokens", b"%d" % balance.available_tokens))
    if balance.available_pusd is not None:
        kept.append((b"x-gateway-budget-remaining-usd", usd(balance.available_pusd).encode()))
    if served.limit_status:
        kept += [(name.encode(), text.encode()) for name, text in rate_headers(served.limit_status).items()]
    return kept


def _headers_of_backend(
    headers: Sequence[tuple[bytes, bytes]], backend: Backend, request_id: str
) -> list[tuple[bytes, bytes]]:
    kept = [header for header in headers if header[0] not in _OWN_HEADERS]
    kept.append((b"x-gateway-request-id", request_id.encode()))
    kept += _headers_that_name(backend.backend_id, backend.region)
    return kept


@lru_cache(maxsize=1024)
def _headers_that_name(backend_id: str, region: str) -> tuple[tuple[bytes, bytes], ...]:
    return (
        (b"x-gateway-backend", backend_id.encode("latin-1", "replace")),
        (b"x-gateway-region", region.encode("latin-1", "replace")),
        (b"x-gateway-cache", b"bypass"),
    )
