"""The web app that the HTTP extension serves in Microsoft's worker."""

from __future__ import annotations

import logging
from logging.config import dictConfig
from types import SimpleNamespace

import pytest
import uvicorn.config
from azurefunctions.extensions.http.fastapi import web
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from shared.worker import EveryRequest, quiet_loggers, replace_web_app


async def call(app: EveryRequest, method: str, path: str) -> str:
    """Call the ASGI application. Returns the body of its answer."""
    sent: list[dict[str, object]] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request"}

    async def send(message: object) -> None:
        assert isinstance(message, dict)
        sent.append(message)

    scope = {"type": "http", "method": method, "path": path, "headers": [], "query_string": b""}
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


def test_the_extension_has_the_class_that_is_replaced() -> None:
    replace_web_app(web)
    assert web.WebApp is EveryRequest


@pytest.mark.parametrize(
    ("extension", "missing"),
    [
        (SimpleNamespace(), "no route and no get_app"),
        (SimpleNamespace(WebApp=type("WebApp", (), {"route": print})), "no get_app"),
    ],
)
def test_an_extension_that_has_changed_is_refused_at_start(extension: object, missing: str) -> None:
    with pytest.raises(RuntimeError, match=missing):
        replace_web_app(extension)


@pytest.mark.parametrize("name", ["azure.core.pipeline.policies.http_logging_policy", "azure.identity.aio._internal"])
def test_the_sdk_logs_warnings_only_although_the_worker_wants_every_line(
    caplog: pytest.LogCaptureFixture, name: str
) -> None:
    caplog.set_level(logging.INFO)
    quiet_loggers()
    logging.getLogger(name).info("a line for each request")
    logging.getLogger(name).warning("a warning")
    assert caplog.messages == ["a warning"]


def test_uvicorn_writes_no_access_log_although_the_extension_configures_it(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    quiet_loggers()
    for name in uvicorn.config.LOGGING_CONFIG["loggers"]:
        logger = logging.getLogger(name)
        for attribute, value in (("handlers", []), ("level", logger.level), ("propagate", logger.propagate)):
            monkeypatch.setattr(logger, attribute, value)
    dictConfig(uvicorn.config.LOGGING_CONFIG)
    logging.getLogger("uvicorn.access").info('%s - "%s %s HTTP/%s" %d', "1.2.3.4", "GET", "/", "1.1", 200)
    assert capsys.readouterr().out == ""
