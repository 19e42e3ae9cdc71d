"""Paths that nothing serves, methods that a path lacks, and odd spellings: a JSON error, and never an empty body."""

from __future__ import annotations

import asyncio
import json
from itertools import product

import pytest
from yarl import URL

from tests.tools.stack import Stack

PATHS = [
    "/", "//", "//healthz", "/healthz//", "/nothing", "/nothing/", "/docs", "/openapi.json", "/redoc",
    "/docs/oauth2-redirect", "/openai//v1/models", "/openai%2Fv1%2Fmodels", "/%2e%2e/etc/passwd", "/x%00y", "/%ff",
    "/x%0d%0aX-Evil:%201", "/manage", "/manage/tenants//keys", "/admin/host/status", "/runtime/webhooks",
    "/" + "a/" * 2_000,
]  # fmt: skip
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


async def test_every_path_that_nothing_serves_is_a_json_error_with_a_request_id(stack: Stack) -> None:
    for method, path in product(METHODS, PATHS):
        async with stack.session.request(method, URL(stack.url + path, encoded=True)) as answer:
            error = (await answer.json())["error"]
        assert (answer.status, error["code"], error["type"], error["param"]) == (404, "not_found", "not_found", None)
        assert error["message"].endswith(f"(request id: {answer.headers['x-gateway-request-id']})")
        assert "evil" not in str(answer.headers).lower()


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/healthz", "GET"),
        ("OPTIONS", "/READYZ", "GET"),
        ("PUT", "/h%65althz/", "GET"),
        ("GET", "/openai/v1/chat/completions", "POST"),
        ("PUT", "/manage/tenants/a%2Fb", "DELETE, GET, PATCH"),
        ("DELETE", "/reference", "GET"),
    ],
)
async def test_a_method_that_a_path_lacks_is_405_and_names_those_it_has(
    stack: Stack, method: str, path: str, allowed: str
) -> None:
    async with stack.session.request(method, URL(stack.url + path, encoded=True)) as answer:
        error = (await answer.json())["error"]
    assert (answer.status, error["code"], answer.headers["allow"]) == (405, "method_not_allowed", allowed)
    assert error["message"].startswith(f"This path accepts {allowed} only. (request id: ")


async def test_a_head_request_gets_the_head_of_the_error(stack: Stack) -> None:
    async with stack.session.head(f"{stack.url}/healthz") as answer:
        assert (answer.status, answer.headers["allow"], await answer.read()) == (405, "GET", b"")


async def test_a_large_body_for_an_unknown_path_is_answered_before_it_is_sent(stack: Stack) -> None:
    host, _, port = stack.url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"POST /nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split()[0])
    assert json.loads(await reader.readexactly(length))["error"]["code"] == "not_found"
    writer.close()
