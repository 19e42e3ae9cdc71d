"""Health checks. Anybody may call them, so they name no tenant, backend or setting."""

from __future__ import annotations

import logging

from starlette.requests import Request
from starlette.responses import Response

from shared.application.structured_log import MESSAGE, STATUS, log_event
from shared.composition.gateway import Gateway
from shared.domain.health.readiness import Readiness
from shared.http.endpoint import endpoint, json_response

_UNAVAILABLE = 503


async def healthz(request: Request) -> Response:  # noqa: ARG001 - a route
    """Serve `GET /healthz`: 200 as long as the process answers."""
    return json_response({"status": "ok"})


@endpoint
async def readyz(gateway: Gateway, _request: Request, _request_id: str) -> Response:
    """Serve `GET /readyz`: 503 if configuration, ledger or identity cannot be used, else 200, perhaps `degraded`."""
    states = await gateway.health.readiness()
    status = _UNAVAILABLE if states.readiness is Readiness.NOT_READY else 200
    if states.failed:
        message = f"failed checks: {', '.join(states.failed)}"
        log_event(logging.WARNING, f"gateway.{states.readiness}", {STATUS: status, MESSAGE: message})
    return json_response({"status": states.readiness, "checks": states.parts}, status)
