"""Adapt Microsoft's Python worker to this app: what its HTTP extension serves, and its loggers (ADR 27)."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import uvicorn
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Router
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

Handle = Callable[[Request], Awaitable[Response]]
KEEP_ALIVE_SECONDS: Final = 120
"""Longer than the Functions host keeps an idle connection, so that none is closed under a request of the host."""
_INVOCATION_ID: Final = "x-ms-invocation-id"
_PRINTABLE: Final = bytes(each if each >= 0x20 and each != 0x7F else 0x20 for each in range(256))
"""By byte: what replaces it in the value of a header."""
_CONTRACT: Final = {"WebApp": ("route", "get_app"), "WebServer": ("serve",)}
"""The classes of the extension that the worker uses, and their methods."""
_TALKATIVE: Final = (
    "azure.core", "azure.data", "azure.identity", "azure.keyvault", "azure.monitor", "azure.storage", "msal",
    "opentelemetry",
)  # fmt: skip
"""The loggers of the Azure SDK. Not `azure` itself, below which the worker has its own, which the host reads."""


class EveryRequest:
    """The web app of the extension, without pages of its own: each request reaches the worker."""

    def __init__(self) -> None:
        self._router = Router(redirect_slashes=False)

    def route(self, handle: Handle) -> Handle:
        """Send every request to `handle`, whatever its method and path."""

        kept = _references_of(handle)

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            scope["path_params"] = {}  # the worker fills it
            request = Request(scope, receive, send)
            try:
                response = await handle(request)
            finally:
                kept.pop(request.headers.get(_INVOCATION_ID), None)
            await response(scope, receive, send)

        self._router.default = serve
        return handle

    def get_app(self) -> Router:
        """Return the ASGI application."""
        return self._router


def _references_of(handle: Handle) -> MutableMapping[str | None, object]:
    """Return what the worker keeps of each invocation: 2 kB, which it never removes (azure-functions-runtime 1.3).

    Empty for a worker that keeps nothing under this name.
    """
    coordinator = getattr(handle, "__globals__", {}).get("http_coordinator")
    references: MutableMapping[str | None, object] = getattr(coordinator, "_context_references", {})
    return references


class LenientProtocol(HttpToolsProtocol):
    """HTTP as the Functions host writes it, which passes control characters in the values of headers.

    A strict parser answers 400 before the worker sees the request, whose invocation then never ends. Blanks replace
    these characters, because clients of backends refuse them too.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.parser.set_dangerous_leniencies(lenient_headers=True)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header. The parser calls this for each."""
        super().on_header(name, value.translate(_PRINTABLE))


class WorkerServer:
    """The server of the extension: only the Functions host connects to it."""

    def __init__(self, hostname: str, port: int, web_app: EveryRequest) -> None:
        config = uvicorn.Config(
            web_app.get_app(),
            host=hostname,
            port=port,
            http=LenientProtocol,
            access_log=False,
            log_config=None,  # its errors go where the worker's go
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
        self.server = uvicorn.Server(config)

    async def serve(self) -> None:
        """Serve until the process ends."""
        await self.server.serve()


def replace_web_server(extension: Any) -> None:
    """Let the HTTP extension serve `EveryRequest` by `WorkerServer`, instead of its own FastAPI app.

    The pages of that app (`/docs`, `/redoc`, `/openapi.json`) come before the route of the worker. The worker never
    sees a request for them, and its invocation stays open until `functionTimeout`. `extension` is the module of the
    extension that has the two classes. Raises `RuntimeError` if they are not as the worker uses them.
    """
    missing = [
        f"{kind}.{method}"
        for kind, methods in _CONTRACT.items()
        for method in methods
        if not callable(getattr(getattr(extension, kind, None), method, None))
    ]
    if missing:
        raise RuntimeError(f"The HTTP extension has changed: it has no {' and no '.join(missing)}. See docs/adr/0027*.")
    extension.WebApp, extension.WebServer = EveryRequest, WorkerServer


def quiet_loggers() -> None:
    """Let the Azure SDK log no line a request. The worker sets the root logger to INFO."""
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
