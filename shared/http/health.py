"""Health checks. Anybody may call them, so they name no tenant, backend or setting."""

from __future__ import annotations

from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import Response

from shared.composition.gateway import Gateway
from shared.http.endpoint import endpoint, json_response


async def healthz(request: Request) -> Response:  # noqa: ARG001 - a route
    """Serve `GET /healthz`: 200 as long as the process answers."""
    return json_response({"status": "ok"})


@endpoint
async def readyz(gateway: Gateway, _request: Request, _request_id: str) -> Response:
    """Serve `GET /readyz`: 200 if ledger, configuration and at least one backend can be reached, else 503."""
    readiness = await gateway.readiness()
    status, code = ("ready", 200) if readiness.is_ready else ("not_ready", 503)
    return json_response({"status": status, "checks": asdict(readiness)}, code)
