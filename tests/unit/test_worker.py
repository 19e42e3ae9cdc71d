"""The web app that the HTTP extension serves in Microsoft's worker."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from types import SimpleNamespace

import pytest
from azurefunctions.extensions.http.fastapi import web
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from shared.worker import EveryRequest, WorkerServer, quiet_loggers, replace_web_server
from tests.tools.stack import free_port

http_coordinator = SimpleNamespace(_context_references={})
"""Stands for the coordinator in the module of the worker's own handler."""


async def call(app: EveryRequest, method: str, path: str, *headers: tuple[bytes, bytes]) -> str:
    """Call the ASGI application. Returns the body of its answer."""
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request"}

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": [*headers], "query_string": b""}
    await app.get_app()(scope, receive, send)
    body = sent[-1]["body"]
    assert isinstance(body, bytes)
    return body.decode()


@pytest.mark.parametrize("path", ["/", "/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect", "/x/", "//"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "TRACE", "PROPFIND"])
async def test_every_request_reaches_the_worker(method: str, path: str) -> None:
    app = EveryRequest()

    @app.route
    async def handle(request: Request) -> Response:
        request.path_params.update({"given": "by the worker"})
        return PlainTextResponse(f"{request.method} {request.path_params}")

    assert await call(app, method, path) == f"{method} {{'given': 'by the worker'}}"


async def test_the_worker_keeps_nothing_of_an_invocation_that_has_ended() -> None:
    app, kept = EveryRequest(), http_coordinator._context_references

    @app.route
    async def handle(request: Request) -> Response:
        assert kept == {"1": "a reference", "2": "a reference"}
        if request.method == "POST":
            raise RuntimeError
        return PlainTextResponse("")

    kept.update({"1": "a reference", "2": "a reference"})
    await call(app, "GET", "/", (b"x-ms-invocation-id", b"1"))
    assert kept == {"2": "a reference"}
    kept["1"] = "a reference"
    with pytest.raises(RuntimeError):
        await call(app, "POST", "/", (b"x-ms-invocation-id", b"2"))
    assert kept == {"1": "a reference"}
    kept.clear()


async def test_a_worker_that_keeps_nothing_is_served_too() -> None:
    async def answer(request: Request) -> Response:
        return PlainTextResponse("yes")

    app = EveryRequest()
    app.route(partial(answer))
    assert await call(app, "GET", "/") == "yes"


async def served(raw: bytes) -> bytes:
    """Serve one request by the server of the worker. Returns the answer, to the end of the connection."""
    app, port = EveryRequest(), free_port()

    @app.route
    async def handle(request: Request) -> Response:
        return PlainTextResponse(repr(request.headers.get("x")))

    worker_server = WorkerServer("127.0.0.1", port, app)
    serving = asyncio.create_task(worker_server.serve())
    try:
        async with asyncio.timeout(30):
            while not worker_server.server.started:  # noqa: ASYNC110 - uvicorn raises no event
                await asyncio.sleep(0.01)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(raw)
            answer = await reader.read()
            writer.close()
            return answer
    finally:
        worker_server.server.should_exit = True
        await serving


@pytest.mark.parametrize(
    ("sent", "value"),
    [
        (b"a\x01b", "a b"),
        (b"a\x1fb", "a b"),
        (b"a\x7fb", "a b"),
        (b"a\x00b", "a b"),
        (b"a\tb", "a b"),
        (b"a\xffb", "a\xffb"),
    ],
)
async def test_a_request_with_any_header_that_the_host_passes_reaches_the_worker(sent: bytes, value: str) -> None:
    answer = await served(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX: " + sent + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(repr(value).encode())
    assert b"uvicorn" not in answer


async def test_what_frames_a_request_is_read_strictly() -> None:
    framed_twice = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert (await served(framed_twice)).startswith(b"HTTP/1.1 400 ")


def test_the_extension_has_the_classes_that_are_replaced() -> None:
    replace_web_server(web)
    assert (web.WebApp, web.WebServer) == (EveryRequest, WorkerServer)


def kind(**methods: object) -> type:
    return type("Kind", (), methods)


@pytest.mark.parametrize(
    ("extension", "missing"),
    [
        (SimpleNamespace(), "WebApp.route and no WebApp.get_app and no WebServer.serve"),
        (SimpleNamespace(WebApp=kind(route=print), WebServer=kind(serve=print)), "no WebApp.get_app. See"),
        (SimpleNamespace(WebApp=kind(route=print, get_app=print), WebServer=kind()), "no WebServer.serve. See"),
    ],
)
def test_an_extension_that_has_changed_is_refused_at_start(extension: object, missing: str) -> None:
    with pytest.raises(RuntimeError, match=missing):
        replace_web_server(extension)


@pytest.mark.parametrize("name", ["azure.core.pipeline.policies.http_logging_policy", "azure.identity.aio._internal"])
def test_the_sdk_logs_warnings_only_although_the_worker_wants_every_line(
    caplog: pytest.LogCaptureFixture, name: str
) -> None:
    caplog.set_level(logging.INFO)
    quiet_loggers()
    logging.getLogger(name).info("a line for each request")
    logging.getLogger(name).warning("a warning")
    assert caplog.messages == ["a warning"]
