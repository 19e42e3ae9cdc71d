"""Adapt Microsoft's Python worker to this app: the web app that its HTTP extension serves, and its loggers."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Router
from starlette.types import Receive, Scope, Send

Handle = Callable[[Request], Awaitable[Response]]
_CONTRACT: Final = ("route", "get_app")
_TALKATIVE: Final = ("azure.core", "azure.data", "azure.identity", "azure.keyvault", "azure.storage", "msal")
"""The loggers of the Azure SDK. Not `azure` itself, below which the worker has its own, which the host reads."""


class EveryRequest:
    """The web app of the extension, without pages of its own: each request reaches the worker."""

    def __init__(self) -> None:
        self._router = Router(redirect_slashes=False)

    def route(self, handle: Handle) -> Handle:
        """Send every request to `handle`, whatever its method and path."""

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            scope["path_params"] = {}  # the worker fills it
            response = await handle(Request(scope, receive, send))
            await response(scope, receive, send)

        self._router.default = serve
        return handle

    def get_app(self) -> Router:
        """Return the ASGI application."""
        return self._router


def replace_web_app(extension: Any) -> None:
    """Let the HTTP extension serve `EveryRequest` instead of its own FastAPI app (ADR 27).

    The pages of that app (`/docs`, `/redoc`, `/openapi.json`) come before the route of the worker. The worker never
    sees a request for them, and its invocation stays open until `functionTimeout`. `extension` is the module of the
    extension that has the class `WebApp`. Raises `RuntimeError` if the class is not as the worker uses it.
    """
    web_app = getattr(extension, "WebApp", None)
    missing = [name for name in _CONTRACT if not callable(getattr(web_app, name, None))]
    if missing:
        raise RuntimeError(
            f"The HTTP extension has changed: its WebApp has no {' and no '.join(missing)}. See docs/adr/0027*."
        )
    extension.WebApp = EveryRequest


def quiet_loggers() -> None:
    """Let the Azure SDK and uvicorn log no line a request. The worker sets the root logger to INFO."""
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
    # The extension has uvicorn configure this logger anew when it serves; a filter outlives that.
    logging.getLogger("uvicorn.access").addFilter(_nothing)


def _nothing(_: logging.LogRecord) -> bool:
    return False
