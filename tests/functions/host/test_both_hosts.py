"""The local functions host and Microsoft's worker library answer every route with the same body, and always end."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from itertools import product
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from shared.domain.health.schedules import SCHEDULES
from shared.domain.identity.role import Role
from shared.http.operation import Operation
from shared.http.operation_table import OPERATIONS, PARAMETER_EXAMPLES
from tests.functions.host.test_conformance import HOSTS, LOCAL_HOST, WORKER_LIBRARY, running
from tests.functions.inference.test_operations import form
from tests.tools.stack import ADMIN_KEY, Stack, configure, running_simulator
from tests.tools.worker_host import OPEN_INVOCATIONS, RAW_HEADER, REACHED_INVOCATIONS

_OF_ONE_RUN = (
    (re.compile(r"\b[0-9a-f]{32}([0-9a-f]{32})?\b"), "RID"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)"), "TIME"),
    (re.compile(r"(blue-team|acme)-[0-9a-f]{8}(_[\w-]+)?"), "KEY"),
    (re.compile(r'"timers":\[.*?\],"anchors":\{[^}]*\},"verifications":\[.*?\],"problems"'), "TIMERS"),
    (re.compile(r'"(latency_ms|remaining_requests|remaining_tokens)":\d+'), "HEALTH"),
)
"""Texts that differ between two runs, with a name for each."""


@pytest.fixture
async def both(tmp_path: Path) -> AsyncIterator[dict[str, Stack]]:
    """Run the gateway under both hosts, each in a memory of its own, with one simulator.

    No timer runs, because the worker library alone has none, and timers change what is listed.
    """
    disabled = {f"AzureWebJobs.{name}.Disabled": "true" for name in SCHEDULES}
    memory = {"TALLYGATE_STORAGE": "memory", "WEBSITE_INSTANCE_ID": "one", **disabled}
    async with (
        running(LOCAL_HOST, memory, tmp_path) as (local_url, _),
        running(WORKER_LIBRARY, memory, tmp_path) as (worker_url, _),
        running_simulator() as (simulator, simulator_url),
        aiohttp.ClientSession() as session,
    ):
        stacks = {}
        for name, url in zip(HOSTS, (local_url, worker_url), strict=True):
            stacks[name] = Stack(url, simulator_url, simulator, session)
            await configure(stacks[name])
            stacks[name].key = await stacks[name].register("acme")
        yield stacks


async def answered(stack: Stack, method: str, path: str, key: str = "", **sent: Any) -> tuple[int, str, str]:
    """Send one request. Returns status, type and body, without what differs between two runs."""
    await stack.session.delete(f"{stack.simulator_url}/_sim/requests")
    stack.simulator.cache._seen.clear()
    headers = ({"api-key": key} if key else {}) | sent.pop("headers", {})
    async with asyncio.timeout(30):
        async with stack.session.request(method, URL(stack.url + path, encoded=True), headers=headers, **sent) as got:
            body = (await got.read()).decode("latin-1")
    for pattern, name in _OF_ONE_RUN:
        body = pattern.sub(name, body)
    return got.status, got.headers.get("content-type", ""), body


async def all_invocations_end(worker: Stack) -> None:
    """Return when no invocation is open in the worker. Raises `TimeoutError`."""
    async with asyncio.timeout(30):
        while await (await worker.session.get(worker.url + OPEN_INVOCATIONS)).json():  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.01)


def request_of(operation: Operation) -> tuple[str, dict[str, Any]]:
    """Return the path and the body with which the reference lets one try an operation."""
    path = operation.path.format_map(PARAMETER_EXAMPLES)
    example = operation.example
    if "api-version" in operation.query:
        path += f"?api-version={PARAMETER_EXAMPLES['api-version']}"
    if example is None:
        return path, {}
    if "file" in example:
        return path, {"data": form(**{name: text for name, text in example.items() if name != "file"})}
    return path, {"json": example}


async def test_every_operation_has_the_same_body_and_its_invocation_ends(both: dict[str, Stack]) -> None:
    local, worker = both[LOCAL_HOST], both[WORKER_LIBRARY]
    for operation in OPERATIONS:
        answers = []
        for stack in (local, worker):
            key = ADMIN_KEY if Role.ADMIN in operation.roles else stack.key
            key = "" if operation.is_open else key
            path, sent = request_of(operation)
            without_key = await answered(stack, operation.method, path)
            answers.append((without_key, await answered(stack, operation.method, path, key, **sent)))
        assert answers[0] == answers[1], (operation.method, operation.path)
    await all_invocations_end(worker)


NOT_SERVED = [
    "/", "/docs", "/docs/", "/DOCS", "/%64ocs", "/redoc", "/openapi.json", "/docs/oauth2-redirect", "/nothing",
    "/nothing/", "/a//b", "/a/../b", "/openai", "/openai/v1", "/manage/", "/healthz/x", "/openai%2Fv1%2Fmodels",
    "/%E2%82%AC", "/favicon.ico", "/.env", "/metrics", "/reference/", "/reference/x", "/me/",
    "/manage/tenants//keys", "/x?code=1",
]  # fmt: skip
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]


async def test_paths_that_nothing_serves_have_the_same_body_and_their_invocations_end(both: dict[str, Stack]) -> None:
    for method, path in product(METHODS, [*NOT_SERVED, "/healthz", "/manage/tenants", "/openai/v1/chat/completions"]):
        sent: dict[str, Any] = {"data": b"x" * 10} if method in ("POST", "PUT", "PATCH") else {}
        answers = {name: await answered(stack, method, path, **sent) for name, stack in both.items()}
        assert answers[LOCAL_HOST] == answers[WORKER_LIBRARY], (method, path)
        status, kind, body = answers[WORKER_LIBRARY]
        assert status in (200, 401, 404, 405), (method, path)
        if status != 200:
            assert kind == "application/json", (method, path)
            assert method == "HEAD" or '"message"' in body, (method, path)
    await all_invocations_end(both[WORKER_LIBRARY])


@pytest.mark.parametrize("path", ["/openai/v1/chat/completions", "/manage/tenants"])
async def test_a_caller_that_leaves_in_the_middle_of_its_body_leaves_no_invocation_open(
    both: dict[str, Stack], path: str
) -> None:
    worker = both[WORKER_LIBRARY]
    key = ADMIN_KEY if path.startswith("/manage") else worker.key
    url = URL(worker.url)
    for length in (b"content-length: 1000", b"transfer-encoding: chunked"):
        _, writer = await asyncio.open_connection(url.host, url.port)
        body = b'{"model": "gpt-4o"' if length.startswith(b"content") else b'12\r\n{"model": "gpt-4o"\r\n'
        writer.write(b"POST %b HTTP/1.1\r\nhost: x\r\napi-key: %b\r\n" % (path.encode(), key.encode()))
        writer.write(b"content-type: application/json\r\n%b\r\n\r\n%b" % (length, body))
        async with asyncio.timeout(30):
            while not await (await worker.session.get(worker.url + REACHED_INVOCATIONS)).json():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        writer.transport.abort()
        await all_invocations_end(worker)


@pytest.mark.parametrize("path", ["/healthz", "/docs", "/manage/tenants"])
async def test_a_header_that_a_strict_server_refuses_leaves_no_invocation_open(
    both: dict[str, Stack], path: str
) -> None:
    worker = both[WORKER_LIBRARY]
    statuses = {"/healthz": 200, "/docs": 404, "/manage/tenants": 401}
    status, _, _ = await answered(worker, "GET", path, headers={RAW_HEADER: "a%01%1f%7fb"})
    assert status == statuses[path]
    await all_invocations_end(worker)
