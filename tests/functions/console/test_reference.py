"""The reference is complete, has working examples, and loads nothing from elsewhere."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from yarl import URL

from shared.domain.identity.role import INFERENCE, OWN_DATA, OWN_ENTRIES
from shared.http.operation import InferenceOperation
from shared.http.operation_table import INFERENCE_OPERATIONS, OPERATIONS, PARAMETER_EXAMPLES
from tests.functions.inference.test_operations import form
from tests.tools.alert_receivers import SIGNING_SECRET
from tests.tools.stack import API_VERSION, Stack

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


async def described(stack: Stack) -> dict[str, Any]:
    async with stack.session.get(f"{stack.url}/reference/openapi.json") as response:
        document: dict[str, Any] = await response.json()
    return document


async def test_every_operation_is_described_and_every_body_has_an_example(stack: Stack) -> None:
    document = await described(stack)
    for operation in OPERATIONS:
        found = document["paths"][operation.path][operation.method.lower()]
        assert found["summary"]
        names = [each["name"] for each in found["parameters"]]
        assert names[: operation.path.count("{")] == re.findall(r"{(\w+)}", operation.path)
        assert (operation.example is not None) == ("requestBody" in found)
        for content in found.get("requestBody", {}).get("content", {}).values():
            assert content["example"]
            assert set(content["schema"].get("required", ())) <= set(content["example"])


async def test_every_operation_tells_its_roles_and_where_a_header_names_the_tenant(stack: Stack) -> None:
    document = await described(stack)
    for operation in OPERATIONS:
        found = document["paths"][operation.path][operation.method.lower()]
        assert found.get("x-roles", ["anyone"]) == [*operation.roles]
        assert bool(found["security"]) != operation.is_open
        headers = [each["name"] for each in found["parameters"] if each["in"] == "header"]
        is_named = operation.roles in (INFERENCE, OWN_DATA, OWN_ENTRIES)
        assert headers == (["x-gateway-tenant"] if is_named else [])


@pytest.mark.parametrize("row", INFERENCE_OPERATIONS, ids=lambda row: row.path)
@pytest.mark.parametrize("dated", [True, False])
async def test_examples_of_inference_work(stack: Stack, row: InferenceOperation, dated: bool) -> None:
    operation = row.operations[0 if dated else 1]
    example = {**(operation.example or {})}
    sent: dict[str, Any] = {"json": example}
    if "file" in example:
        sent = {"data": form(**{name: text for name, text in example.items() if name != "file"})}
    url = stack.url + operation.path.replace("{deployment}", row.model)
    query = {"api-version": API_VERSION} if dated else {}
    async with stack.session.post(url, params=query, headers={"api-key": stack.key}, **sent) as response:
        assert (response.status, bool(await response.read())) == (operation.success, True)
    await stack.settled()
    (entry,) = await stack.entries()
    assert (entry["operation"], entry["deployment"]) == (row.path, row.model)


async def test_an_equal_price_has_the_status_that_the_reference_names(stack: Stack) -> None:
    (operation,) = (each for each in OPERATIONS if each.repeated is not None)
    described_statuses = (await described(stack))["paths"][operation.path]["post"]["responses"]
    for status in (operation.success, operation.repeated):
        assert str(status) in described_statuses
        await stack.manage(operation.method, operation.path, operation.example, status=status)


NOBODY = "http://127.0.0.1:9/"
SINK_SECRETS = {"ops-webhook-address": NOBODY, "ops-webhook-key": SIGNING_SECRET, "blue-team-workflow": NOBODY}


@pytest.mark.parametrize("stack_settings", [{"ALERT_SECRETS": json.dumps(SINK_SECRETS)}], indirect=True)
async def test_examples_of_management_work_in_the_order_of_the_table(stack: Stack) -> None:
    managed = [operation for operation in OPERATIONS if operation.body is not None]
    known = dict(PARAMETER_EXAMPLES)
    for operation in managed:
        path = operation.path.format_map(known)
        if "/users/" in path:  # it has called
            await (await stack.gateway()).tenancy.users.alias(known["tenant"], "ann")
        answer = await stack.manage(operation.method, path, operation.example, status=operation.success)
        if answer and "key_id" in answer:  # the gateway chooses the id of a key
            known["key"] = answer["key_id"]


async def test_the_page_may_run_its_own_script_and_nothing_else(stack: Stack) -> None:
    async with stack.session.get(f"{stack.url}/reference") as response:
        page = await response.text()
        policy = response.headers["content-security-policy"]
        assert (response.status, response.content_type) == (200, "text/html")
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert not re.search(r"(src|href)=|https?:|innerHTML|eval\(", page)


TRY = """
(async (key, path) => {
  const moment = () => new Promise((next) => setTimeout(next, 20));
  const until = async (found) => { while (!found()) await moment(); return found(); };
  const operation = await until(() =>
    [...document.querySelectorAll("details")].find((each) => each.dataset.words.startsWith("post " + path + " ")));
  document.getElementById("key").value = key;
  document.getElementById("find").value = path;
  document.getElementById("find").dispatchEvent(new Event("input"));
  operation.open = true;
  operation.querySelector("form").requestSubmit();
  const output = operation.querySelector("pre");
  await until(() => !operation.querySelector("button").disabled && output.textContent.length > 3);
  const shown = [...document.querySelectorAll("details")].filter((each) => !each.hidden).length;
  return [document.querySelectorAll("details").length, shown, output.textContent];
})
"""


@pytest.mark.parametrize("path", ["/openai/v1/embeddings", "/openai/v1/chat/completions", "/openai/v1/audio/speech"])
async def test_the_page_lists_and_tries_operations_in_a_browser(stack: Stack, tmp_path: Path, path: str) -> None:
    async with _browser(f"{stack.url}/reference", tmp_path) as evaluate:
        operations, shown, output = await evaluate(f"({TRY})({json.dumps(stack.key)}, {json.dumps(path)})")
    assert (operations, shown) == (len(OPERATIONS), 1)
    assert output.startswith("200\n")
    assert "x-gateway-backend: se-" in output
    (entry,) = await stack.entries()
    assert entry["error_code"] == ""


@asynccontextmanager
async def _browser(url: str, folder: Path) -> AsyncIterator[Callable[[str], Awaitable[Any]]]:
    """Open a page in chromium. Yields a function that evaluates JavaScript in it.

    Protocol: https://chromedevtools.github.io/devtools-protocol
    """
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("CI needs chromium.")
        pytest.skip("no chromium was found")
    options = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
    ]
    options += ["--remote-debugging-port=0", f"--user-data-dir={folder}"]
    process = await asyncio.create_subprocess_exec(
        CHROMIUM, *options, url, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        line = b""
        while b"DevTools listening on" not in line:
            line = await process.stderr.readline()
            assert line, "chromium has ended"
        reading = asyncio.create_task(process.stderr.read())
        port = URL(line.split()[-1].decode()).port
        async with aiohttp.ClientSession() as session:
            async with session.get(f"http://127.0.0.1:{port}/json/list") as listed:
                target = next(each for each in await listed.json(content_type=None) if each["type"] == "page")
            async with session.ws_connect(target["webSocketDebuggerUrl"]) as page:
                numbers = itertools.count(1)

                async def evaluate(expression: str) -> Any:
                    number = next(numbers)
                    parameters = {"expression": expression, "awaitPromise": True, "returnByValue": True}
                    await page.send_json({"id": number, "method": "Runtime.evaluate", "params": parameters})
                    while (answer := await page.receive_json()).get("id") != number:
                        continue
                    return answer.get("result", {}).get("result", {}).get("value")

                while await evaluate("location.href") != url:
                    continue  # the page that is being left may answer, or not answer at all
                yield evaluate
    finally:
        process.terminate()
        await process.wait()
        await reading


async def test_the_page_needs_no_key_and_the_routes_do(stack: Stack) -> None:
    async with aiohttp.ClientSession() as session:
        for path, status in (
            ("/reference", 200),
            ("/reference/openapi.json", 200),
            ("/manage/tenants", 401),
            ("/me", 401),
        ):
            async with session.get(stack.url + path) as response:
                assert response.status == status
