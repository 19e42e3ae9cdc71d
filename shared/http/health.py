"""Health checks. Anybody may call them, so they name no tenant, backend or setting."""

from __future__ import annotations

import logging
from dataclasses import asdict

from starlette.requests import Request
from starlette.responses import Response

from shared.application.structured_log import MESSAGE, STATUS, log_event
from shared.composition.gateway import Gateway
from shared.http.endpoint import endpoint, json_response


async def healthz(request: Request) -> Response:  # noqa: ARG001 - a route
    """Serve `GET /healthz`: 200 as long as the process answers."""
    return json_response({"status": "ok"})


@endpoint
async def readyz(gateway: Gateway, _request: Request, _request_id: str) -> Response:
    """Serve `GET /readyz`: 200 if ledger, configuration and at least one backend can be reached, else 503."""
    readiness = await gateway.health.readiness()
    status, code = ("ready", 200) if readiness.is_ready else ("not_ready", 503)
    checks = asdict(readiness)
    if not readiness.is_ready:
        failed = ", ".join(name for name, is_passed in checks.items() if not is_passed)
        log_event(logging.WARNING, "gateway.not_ready", {STATUS: code, MESSAGE: f"failed checks: {failed}"})
    return json_response({"status": status, "checks": checks}, code)
