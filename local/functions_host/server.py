"""The host as an ASGI application."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from local.functions_host.indexing import ANONYMOUS, HttpFunction
from local.functions_host.routing import Router, is_permitted
from local.functions_host.timers import Timers
from local.origins import is_foreign

logger = logging.getLogger("functions_host")
_ADMIN_FUNCTIONS = "/admin/functions/"


class FunctionsHost:
    """Routes requests to HTTP functions and keeps the timers running. `on_shutdown` runs after the last request."""

    def __init__(
        self,
        functions: list[HttpFunction],
        timers: Timers,
        host_key: str,
        on_shutdown: Callable[[], Awaitable[None]],
    ) -> None:
        self._router = Router(functions)
        self._timers = timers
        self._host_key = host_key
        self._on_shutdown = on_shutdown

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
            return
        if scope["path"].lower().startswith(_ADMIN_FUNCTIONS) and scope["method"] == "POST":
            await Response(status_code=self._start_by_hand(Request(scope)))(scope, receive, send)
            return
        found = self._router.match(scope["method"], scope["raw_path"])
        if found is None:
            await Response(status_code=404)(scope, receive, send)
            return
        function, path_params = found
        request = Request(scope, receive)
        if function.auth_level != ANONYMOUS and not is_permitted(self._host_key, _sent_key(request)):
            await Response(status_code=401)(scope, receive, send)
            return
        scope["path_params"] = dict(path_params)
        try:
            response = await function.handler(**{function.parameter: request})
        except Exception:
            logger.exception("function %s failed", function.name)
            response = Response(status_code=500)
        await _checked(function, response)(scope, receive, send)

    def _start_by_hand(self, request: Request) -> int:
        """Start a timer function. Returns the status. Asks for the host's key, as Azure does for its master key."""
        if is_foreign(request.headers.get("host", ""), request.headers.get("origin")):
            return 403
        if not is_permitted(self._host_key, _sent_key(request)):
            return 401
        return 202 if self._timers.start_by_hand(request.scope["path"][len(_ADMIN_FUNCTIONS) :]) else 404

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        timers = asyncio.create_task(self._timers.run())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        timers.cancel()
        await asyncio.wait([timers])
        await self._timers.finish()
        await self._on_shutdown()
        await send({"type": "lifespan.shutdown.complete"})


def _checked(function: HttpFunction, result: object) -> Response:
    """Return the result of a function if it is an answer."""
    if isinstance(result, Response):
        return result
    logger.error("function %s returned %s, not a response", function.name, type(result).__name__)
    return Response(status_code=500)


def _sent_key(request: Request) -> str:
    sent = request.headers.get("x-functions-key")
    if sent is not None:
        return sent
    return parse_qs(request.url.query).get("code", [""])[0]


def load_local_settings(text: str) -> dict[str, str]:
    """`Values` of local.settings.json."""
    values: dict[str, str] = json.loads(text).get("Values", {})
    return values
