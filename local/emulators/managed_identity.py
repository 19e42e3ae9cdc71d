"""The endpoints at which a managed identity gets its tokens: that of App Service, and that of virtual machines."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from aiohttp import web

from local.emulators.access_tokens import token_for

APP_SERVICE_PATH = "/msi/token"
MACHINE_PATH = "/metadata/identity/oauth2/token"


@dataclass
class EmulatedIdentity:
    """Answers as App Service (2019-08-01) and as the metadata service of virtual machines (2018-02-01).

    https://learn.microsoft.com/azure/app-service/overview-managed-identity
    https://learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token
    """

    header: str
    """The secret that a caller of App Service's endpoint must send."""
    lifetime_seconds: int = 3600
    fails: bool = False
    """Answer every request as if there were no identity."""
    asked: list[dict[str, str]] = field(default_factory=list)
    """The queries of all requests."""

    def application(self) -> web.Application:
        """Return the application of both endpoints."""
        application = web.Application()
        application.router.add_get(APP_SERVICE_PATH, self._app_service)
        application.router.add_get(MACHINE_PATH, self._machine)
        return application

    async def _app_service(self, request: web.Request) -> web.Response:
        return self._answer(request, is_allowed=request.headers.get("X-IDENTITY-HEADER") == self.header)

    async def _machine(self, request: web.Request) -> web.Response:
        return self._answer(request, is_allowed=request.headers.get("Metadata") == "true")

    def _answer(self, request: web.Request, *, is_allowed: bool) -> web.Response:
        self.asked.append(dict(request.query))
        if self.fails or not is_allowed:
            return web.json_response({"statusCode": 400, "message": "no"}, status=400)
        resource, now = request.query["resource"], int(time.time())
        return web.json_response(
            {
                "access_token": token_for(resource, exp=now + self.lifetime_seconds),
                "expires_on": str(now + self.lifetime_seconds),
                "expires_in": str(self.lifetime_seconds),
                "resource": resource,
                "token_type": "Bearer",
            }
        )
