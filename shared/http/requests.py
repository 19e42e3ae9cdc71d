"""Requests in: credentials, bodies within their limit, and the parts of the path as the caller sent them."""

from __future__ import annotations

from typing import Any, TypeVar
from urllib.parse import unquote_to_bytes

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from shared.application.authenticate import AdministratorPrincipal, TenantPrincipal
from shared.application.record_audit import Actor
from shared.composition import Gateway
from shared.domain.errors import InsufficientRole, InvalidRequest, RequestTooLarge

ModelT = TypeVar("ModelT", bound=BaseModel)


def credential_of(request: Request) -> str | None:
    """The credential in `api-key`, or in `Authorization: Bearer`."""
    headers = request.headers
    key = headers.get("api-key")
    if key:
        return key
    scheme, _, token = headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


async def tenant_principal(gateway: Gateway, request: Request) -> TenantPrincipal:
    """The calling tenant. Raises `InvalidApiKey`, or `InsufficientRole` for an administrator, who has no quota."""
    principal = await gateway.authenticate.anyone(credential_of(request))
    if isinstance(principal, AdministratorPrincipal):
        raise InsufficientRole
    return principal


async def administrator(gateway: Gateway, request: Request) -> Actor:
    """The acting administrator. Raises `InvalidApiKey` or, for a tenant's key, `InsufficientRole`."""
    principal = await gateway.authenticate.anyone(credential_of(request))
    if isinstance(principal, TenantPrincipal):
        raise InsufficientRole
    return Actor(principal.actor, request.client.host if request.client else "")


async def read_body(request: Request, limit: int) -> bytes:
    """The body, read no further than `limit` bytes. Raises `RequestTooLarge`, and `InvalidRequest` if compressed."""
    headers = request.headers
    if headers.get("content-encoding", "identity") != "identity":
        raise InvalidRequest("Compressed request bodies are not supported.", "Content-Encoding")
    too_large = RequestTooLarge(f"The request body exceeds the limit of {limit} bytes.")
    stated = headers.get("content-length", "")
    if stated.isdigit() and int(stated) > limit:
        raise too_large
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise too_large
        parts.append(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


async def read_model(request: Request, model: type[ModelT], limit: int) -> ModelT:
    """The JSON body as a model. Raises `InvalidRequest` naming the first field that is wrong or unknown."""
    body = await read_body(request, limit)
    try:
        return model.model_validate_json(body or b"{}")
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        param = ".".join(str(part) for part in problem["loc"]) or None
        raise InvalidRequest(f"{param or 'body'}: {problem['msg']}", param) from None


def path_segment(request: Request, index: int) -> str:
    """One segment of the path as sent, decoded once, so that `%2F` stays inside its segment on every host."""
    raw: bytes = request.scope["raw_path"]
    segment = raw.partition(b"?")[0].split(b"/")[index + 1]
    try:
        return unquote_to_bytes(segment).decode()
    except UnicodeDecodeError:
        raise InvalidRequest("The path is not valid UTF-8.") from None


def page_query(request: Request, maximum: int = 500, default: int = 100) -> tuple[int, str | None]:
    """`limit` and `cursor` of a list."""
    query: Any = request.query_params
    text = query.get("limit", str(default))
    if not text.isdigit() or not 1 <= int(text) <= maximum:
        raise InvalidRequest(f"'limit' must be a number from 1 to {maximum}.", "limit")
    return int(text), query.get("cursor") or None
