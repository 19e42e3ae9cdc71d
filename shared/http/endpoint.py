"""What every route has in common: a request id, the gateway, a principal, and errors told in one way."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, TypeAlias

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from shared.application.audit.record_audit import Actor
from shared.application.tenancy.authenticate import TenantPrincipal
from shared.composition.gateway import Gateway
from shared.composition.process import current_gateway
from shared.domain.errors import GatewayError
from shared.domain.identifiers import new_rid
from shared.http.errors import error_response
from shared.http.requests import administrator, headers_of, tenant_principal
from shared.settings import SettingsInvalid

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]
logger = logging.getLogger("tallygate")


def endpoint(handler: Callable[[Gateway, Request, str], Awaitable[Response]]) -> Endpoint:
    """A route from a handler that takes the gateway, the request and its new id."""

    @wraps(handler)
    async def serve(request: Request) -> Response:
        request_id = new_rid()
        try:
            gateway = await current_gateway()
        except SettingsInvalid as error:
            logger.critical("%s", error)
            return json_response({"error": {"code": "misconfigured", "message": "The gateway is misconfigured."}}, 500)
        try:
            return await handler(gateway, request, request_id)
        except GatewayError as error:
            return error_response(error, request_id, gateway.clock.now())

    return serve


def for_administrators(handler: Callable[[Gateway, Request, Actor], Awaitable[Response]]) -> Endpoint:
    """A route that only an administrator may call; the handler gets who that is."""

    @wraps(handler)
    async def authorize(gateway: Gateway, request: Request, _: str) -> Response:
        return await handler(gateway, request, await administrator(gateway, request))

    return endpoint(authorize)


def for_tenants(handler: Callable[[Gateway, Request, TenantPrincipal], Awaitable[Response]]) -> Endpoint:
    """A route for a tenant's own key."""

    @wraps(handler)
    async def authorize(gateway: Gateway, request: Request, _: str) -> Response:
        return await handler(gateway, request, await tenant_principal(gateway, headers_of(request)))

    return endpoint(authorize)


def json_response(document: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer."""
    return Response(msgspec.json.encode(document), status, headers, "application/json")


def list_response(data: list[Any], next_cursor: str | None = None) -> Response:
    """A page of a list, and the cursor of the next."""
    return json_response({"data": data, "next_cursor": next_cursor})
