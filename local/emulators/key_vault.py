"""A key vault: its challenge, and its secrets with all their versions. It needs TLS, because the SDK refuses http."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from aiohttp import web

from local.emulators.access_tokens import claims_of

TENANT_ID = "11111111-2222-3333-4444-555555555555"
_PAGE = 25
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class StoredVersion:
    """One version of a secret."""

    version: str
    value: str
    created: int
    order: int
    enabled: bool = True

    def attributes(self) -> dict[str, Any]:
        stamps = {"created": self.created, "updated": self.created}
        return {"enabled": self.enabled, **stamps, "recoveryLevel": "Recoverable+Purgeable"}


@dataclass
class EmulatedVault:
    """A vault below one address. Tests change its secrets and its faults directly.

    https://learn.microsoft.com/rest/api/keyvault/secrets/get-secret
    """

    url: str
    resource: str = ""
    """The resource that its challenge names; by default the part of its host that the SDK accepts."""
    tenant_id: str = TENANT_ID
    """The directory that its challenge names, whose identities may read it."""
    status: int = 0
    """Answer every authorized request with this status; 0 for none."""
    retry_after: str = ""
    body: bytes | None = None
    """Answer every authorized request with these bytes, as JSON."""
    may_list: bool = True
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    """Requests wait while it is not set."""
    page_size: int = _PAGE
    requests: list[str] = field(default_factory=list)
    """The paths of all authorized requests."""
    challenges: int = 0
    versions: dict[str, list[StoredVersion]] = field(default_factory=dict)
    routes: list[tuple[str, str, _Handler]] = field(default_factory=list)
    """Further routes: method, path and handler."""
    _orders: count[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self.gate.set()
        self.resource = self.resource or self.url.replace("//127.0.", "//", 1)

    def set(self, name: str, value: str, *, age_seconds: float = 0) -> str:
        """Add a version that was made some time ago, and return its name."""
        made = StoredVersion(secrets.token_hex(16), value, int(time.time() - age_seconds), next(self._orders))
        self.versions.setdefault(name.lower(), []).append(made)
        return made.version

    def disable(self, name: str, version: str) -> None:
        """Disable one version."""
        next(each for each in self.versions[name.lower()] if each.version == version).enabled = False

    def application(self) -> web.Application:
        """Return the vault's application."""
        application = web.Application(middlewares=[self._guard])
        application.router.add_get("/secrets/{name}/versions", self._list)
        application.router.add_get("/secrets/{name}/{version}", self._get)
        application.router.add_get("/secrets/{name}", self._get)
        application.router.add_get("/secrets/{name}/", self._get)
        for method, path, handler in self.routes:
            application.router.add_route(method, path, handler)
        return application

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        """Challenge a request without a token for this vault, then commit the fault that a test has set."""
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        claims = claims_of(token)
        if scheme != "Bearer" or claims.get("aud") != self.resource or claims.get("exp", 0) < time.time():
            self.challenges += 1
            directory = f"https://login.microsoftonline.com/{self.tenant_id}"
            asked = f'Bearer authorization="{directory}", resource="{self.resource}"'
            return web.json_response(
                _error("Unauthorized", "AKV10000: Request is missing a Bearer or PoP token."),
                status=401,
                headers={"WWW-Authenticate": asked},
            )
        self.requests.append(request.path)
        await self.gate.wait()
        if self.status:
            headers = {"Retry-After": self.retry_after} if self.retry_after else {}
            return web.json_response(_error("Fault", "A fault."), status=self.status, headers=headers)
        if self.body is not None:
            return web.Response(body=self.body, content_type="application/json")
        return await handler(request)

    async def _get(self, request: web.Request) -> web.Response:
        name, asked = request.match_info["name"], request.match_info.get("version", "")
        found = [each for each in self.versions.get(name.lower(), ()) if asked in ("", each.version)]
        if not found:
            missing = f"A secret with (name/id) {name} was not found in this key vault."
            return web.json_response(_error("SecretNotFound", missing), status=404)
        secret = max(found, key=lambda each: each.order)
        if not secret.enabled:
            refusal = _error("Forbidden", "Operation get is not allowed on a disabled secret.", "SecretDisabled")
            return web.json_response(refusal, status=403)
        return web.json_response({**self._item(name, secret), "value": secret.value})

    async def _list(self, request: web.Request) -> web.Response:
        if not self.may_list:
            refusal = _error("Forbidden", "Caller is not authorized to perform action.", "ForbiddenByRbac")
            return web.json_response(refusal, status=403)
        name, begin = request.match_info["name"], int(request.query.get("$skiptoken", "0"))
        # the service sorts by the names of versions, which are random
        found = sorted(self.versions.get(name.lower(), ()), key=lambda each: each.version)
        page, end = found[begin : begin + self.page_size], begin + self.page_size
        version = request.query["api-version"]
        next_link = f"{self.url}{request.path}?api-version={version}&$skiptoken={end}" if end < len(found) else None
        return web.json_response({"value": [self._item(name, each) for each in page], "nextLink": next_link})

    def _item(self, name: str, secret: StoredVersion) -> dict[str, Any]:
        return {"id": f"{self.url}/secrets/{name}/{secret.version}", "attributes": secret.attributes()}


def _error(code: str, message: str, inner: str = "") -> dict[str, Any]:
    error = {"code": code, "message": message}
    return {"error": error | ({"innererror": {"code": inner}} if inner else {})}
