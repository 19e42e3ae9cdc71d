"""The frame of every route: a request id, the use cases that its handler needs, its caller, and errors told one way."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from functools import wraps
from operator import attrgetter
from typing import Any, Concatenate, ParamSpec, TypeAlias, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from shared.application.audit.record_audit import Actor
from shared.application.structured_log import fields_of, log_event
from shared.application.structured_log import request_id as current_request_id
from shared.application.tenancy.principals import TenantPrincipal
from shared.composition.gateway import Gateway
from shared.composition.inference import Inference
from shared.composition.process import current_gateway
from shared.domain.damaged_row import DamagedRow
from shared.domain.errors import GatewayError
from shared.domain.identifiers import new_rid
from shared.http.callers import manager, tenant_principal
from shared.http.declared import check_declared, operation_of
from shared.http.errors import (
    INTERNAL_ERROR,
    error_response,
    internal_error_response,
    misconfigured_response,
    status_of,
)
from shared.http.measured import measure_refusal
from shared.http.reported import report_error, report_failure
from shared.http.requests import headers_of, reason_query
from shared.setting_problems import SettingsInvalid

Endpoint: TypeAlias = Callable[[Request], Awaitable[Response]]
UseCasesT = TypeVar("UseCasesT")
P = ParamSpec("P")


def endpoint(
    handler: Callable[Concatenate[Gateway, Request, str, P], Awaitable[Response]],
) -> Callable[Concatenate[Request, P], Awaitable[Response]]:
    """Make a route from a handler that gets the whole gateway, the request and its new id."""
    return _route(_whole, handler)


def for_inference(
    handler: Callable[Concatenate[Inference, Request, str, P], Awaitable[Response]],
) -> Callable[Concatenate[Request, P], Awaitable[Response]]:
    """Make a route from a handler that gets the use cases of inference only, the request and its new id.

    The handler authenticates the tenant itself, because it reads the headers only once.
    """
    return _route(attrgetter("inference"), handler)


def for_managers(handler: Callable[[Gateway, Request, Actor], Awaitable[Response]]) -> Endpoint:
    """Make a management route: only a caller with a role of its operation may call it. The handler gets who that is."""

    @wraps(handler)
    async def authorize(gateway: Gateway, request: Request, request_id: str) -> Response:
        hops = gateway.settings.trusted_proxy_hops
        actor = await manager(gateway.tenancy.authenticate, request, request_id, hops)
        gateway.audit.note_sign_in(actor)
        check_declared(request)
        return await handler(gateway, request, replace(actor, reason=reason_query(request)))

    return endpoint(authorize)


def for_tenants(handler: Callable[[Gateway, Request, TenantPrincipal], Awaitable[Response]]) -> Endpoint:
    """Make a route for callers that act for a tenant, with a role of its operation. The handler gets the tenant."""

    @wraps(handler)
    async def authorize(gateway: Gateway, request: Request, _: str) -> Response:
        hops, roles = gateway.settings.trusted_proxy_hops, operation_of(request).roles
        caller = await tenant_principal(gateway.tenancy.authenticate, request, headers_of(request), hops, roles)
        check_declared(request)
        return await handler(gateway, request, caller)

    return endpoint(authorize)


def _route(
    use_cases: Callable[[Gateway], UseCasesT],
    handler: Callable[Concatenate[UseCasesT, Request, str, P], Awaitable[Response]],
) -> Callable[Concatenate[Request, P], Awaitable[Response]]:
    """Make a route that answers and reports every error of its handler. Further arguments go to the handler."""

    @wraps(handler)
    async def serve(request: Request, /, *args: P.args, **kwargs: P.kwargs) -> Response:
        request_id = new_rid()
        current_request_id.set(request_id)
        try:
            gateway = await current_gateway()
        except SettingsInvalid as error:
            return misconfigured_response(error.problems, request_id)
        except GatewayError as error:  # such as a key vault that cannot be reached
            log_event(logging.ERROR, "gateway.start_failed", fields_of(error))
            return error_response(error, request_id, datetime.now(UTC))
        try:
            return await handler(use_cases(gateway), request, request_id, *args, **kwargs)
        except GatewayError as error:
            report_error(
                gateway.refusals, gateway.alerts.raise_alert, error, request, gateway.settings.trusted_proxy_hops
            )
            measure_refusal(gateway.telemetry, request, *status_of(error))
            return error_response(error, request_id, gateway.clock.now())
        except Exception as error:  # noqa: BLE001 - a defect; the host would answer without a body or a request id
            report_failure(error, request, *INTERNAL_ERROR)
            measure_refusal(gateway.telemetry, request, *INTERNAL_ERROR)
            return internal_error_response(request_id)

    return serve


def _whole(gateway: Gateway) -> Gateway:
    return gateway


def json_response(document: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Make a JSON answer."""
    return Response(msgspec.json.encode(document), status, headers, "application/json")


def list_response(
    data: list[Any], next_cursor: str | None = None, damaged: Iterable[DamagedRow] | None = None
) -> Response:
    """Make one page of a list, with the cursor of the next page, and the rows that cannot be read if it names any."""
    named = {} if damaged is None else {"damaged": [{"row": each.row, "message": each.message} for each in damaged]}
    return json_response({"data": data, "next_cursor": next_cursor, **named})
