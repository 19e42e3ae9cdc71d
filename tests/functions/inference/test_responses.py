"""The Responses API: owners, charges and refusals."""

from __future__ import annotations

import json
from typing import Any

import aiohttp
import pytest

from shared import timers
from shared.adapters.in_memory.table_store import InMemoryTableStore
from shared.adapters.tables.responses import TableResponses
from shared.adapters.tables.store import AnswerLost
from tests.tools.stack import API_VERSION, Stack, eventually

BASES = ("/openai/v1", "/openai")


async def call(
    stack: Stack, method: str, path: str, body: Any = None, *, key: str | None = None, query: str = ""
) -> tuple[int, Any]:
    """Send one request. Returns status and body, as JSON unless it is a stream."""
    base = "" if path.startswith("/openai") else "/openai/v1"
    headers = {"api-key": stack.key if key is None else key}
    async with stack.session.request(method, f"{stack.url}{base}{path}{query}", json=body, headers=headers) as answer:
        is_stream = answer.headers.get("content-type", "").startswith("text/event-stream")
        return answer.status, await answer.read() if is_stream else await answer.json()


async def create(stack: Stack, given: Any = "Hello!", **fields: Any) -> Any:
    status, body = await call(stack, "POST", "/responses", {"model": "gpt-4o", "input": given, **fields})
    assert status == 200, body
    return body


async def asked(stack: Stack) -> list[dict[str, Any]]:
    """Return the simulator's records of requests that create a response."""
    return [record for record in await stack.requests() if record["body"]]


async def settled(stack: Stack) -> tuple[dict[str, Any], dict[str, Any]]:
    await stack.settled()
    return (await stack.entries())[-1], (await asked(stack))[-1]


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_response_is_charged_the_usage_of_the_backend(stack: Stack, base: str, stream: bool) -> None:
    query = f"?api-version={API_VERSION}" if base == "/openai" else ""
    body = {"model": "gpt-4o", "input": "Hello!", "instructions": "Be brief.", **({"stream": True} if stream else {})}
    status, answer = await call(stack, "POST", f"{base}/responses", body, query=query)
    entry, record = await settled(stack)
    assert status == 200
    assert (entry["tokens"], entry["estimated"]) == (record["usage"]["total_tokens"], False)
    assert (entry["operation"], entry["streamed"], entry["service_tier"]) == ("responses", stream, "default")
    assert entry["reserved_tokens"] >= entry["tokens"]
    assert record["path"].partition("?")[0] == f"/swedencentral{base}/responses"
    if stream:
        assert answer.startswith(b"event: response.created\n")
        assert answer.rstrip().endswith(b"}")
        assert b"event: response.completed\n" in answer
    assert "stream_options" not in record["body"]


async def test_the_dated_path_needs_an_api_version(stack: Stack) -> None:
    for method, path in (("POST", "/openai/responses"), ("GET", "/openai/responses/resp_1")):
        status, answer = await call(stack, method, path, {} if method == "POST" else None)
        assert (status, answer["error"]["param"]) == (400, "api-version")


@pytest.mark.parametrize("model", ["gpt-4o", "o4-mini"])
async def test_reasoning_and_caps_are_metered(stack: Stack, model: str) -> None:
    _, answer = await call(
        stack, "POST", "/responses", {"model": model, "input": "Hello!", "max_output_tokens": 70, "user": "ann"}
    )
    entry, record = await settled(stack)
    assert entry["usage"]["reasoning"] == record["usage"]["output_tokens_details"]["reasoning_tokens"]
    assert answer["status"] == ("completed" if model == "gpt-4o" else "incomplete")
    assert (entry["tokens"], entry["user"]) == (record["usage"]["total_tokens"], "ann")
    assert entry["reserved_tokens"] >= entry["tokens"]


@pytest.mark.parametrize(
    "given",
    [
        [{"role": "user", "content": "Hi"}],
        [{"role": "user", "content": [{"type": "input_text", "text": "What is it?"},
                                      {"type": "input_image", "image_url": "https://x.invalid/a.png"}]}],
        [{"type": "function_call", "name": "f", "call_id": "c", "arguments": "{}"},
         {"type": "function_call_output", "call_id": "c", "output": "42"}],
        ["odd"],
    ],
)  # fmt: skip
async def test_tokens_are_held_for_inputs_of_any_shape(stack: Stack, given: Any) -> None:
    status, _ = await call(stack, "POST", "/responses", {"model": "gpt-4o", "input": given})
    if given == ["odd"]:
        assert status == 400
        return
    entry, record = await settled(stack)
    assert entry["tokens"] == record["usage"]["total_tokens"] <= entry["reserved_tokens"]


async def test_a_response_is_visible_to_its_tenant_alone(stack: Stack) -> None:
    made = await create(stack)
    other = await stack.register(f"{stack.tenant[:20]}-other")
    for query, base in (("", "/openai/v1"), (f"?api-version={API_VERSION}", "/openai")):
        path = f"{base}/responses/{made['id']}"
        for method, part in (("GET", ""), ("GET", "/input_items"), ("POST", "/cancel"), ("DELETE", "")):
            status, answer = await call(stack, method, path + part, key=other, query=query)
            assert (status, answer["error"]["code"]) == (404, "response_not_found")
    body = {"model": "gpt-4o", "input": "And?", "previous_response_id": made["id"]}
    status, answer = await call(stack, "POST", "/responses", body, key=other)
    assert (status, answer["error"]["code"]) == (404, "response_not_found")
    assert len(await stack.requests()) == 1


@pytest.mark.parametrize("base", BASES)
async def test_an_own_response_can_be_read_and_deleted(stack: Stack, base: str) -> None:
    made = await create(stack)
    path, query = f"{base}/responses/{made['id']}", f"?api-version={API_VERSION}" if base == "/openai" else ""
    assert await call(stack, "GET", path, query=query) == (200, made)
    status, items = await call(
        stack, "GET", f"{path}/input_items", query=f"{query or '?'}&limit=5&evil=1".replace("?&", "?")
    )
    assert (status, items["data"][0]["content"]) == (200, "Hello!")
    last = (await stack.requests())[-1]
    assert ("limit=5" in last["path"], "evil" in last["path"]) == (True, False)
    assert await call(stack, "DELETE", path, query=query) == (
        200,
        {"id": made["id"], "object": "response", "deleted": True},
    )
    assert (await call(stack, "GET", path, query=query))[0] == 404
    assert len(await stack.entries()) == 1


async def test_a_response_of_a_removed_backend_cannot_be_found(stack: Stack) -> None:
    made = await create(stack)
    await stack.pool("eastus")
    await stack.manage("DELETE", "/manage/backends/se-gpt-4o", status=204)
    for method, path, body in (
        ("GET", f"/responses/{made['id']}", None),
        ("POST", "/responses", {"model": "gpt-4o", "input": "And?", "previous_response_id": made["id"]}),
    ):
        status, answer = await call(stack, method, path, body)
        assert (status, answer["error"]["code"]) == (404, "response_not_found")


async def test_a_response_that_was_not_stored_cannot_be_read(stack: Stack) -> None:
    made = await create(stack, store=False)
    assert (await call(stack, "GET", f"/responses/{made['id']}"))[0] == 404


@pytest.mark.parametrize("stream", [True, False])
async def test_tokens_are_held_for_the_whole_context_of_a_following_response(stack: Stack, stream: bool) -> None:
    first = await create(stack, "many words " * 500)
    fields = {"previous_response_id": first["id"], "max_output_tokens": 5, **({"stream": True} if stream else {})}
    await create(stack, "And?", **fields)
    entry, record = await settled(stack)
    assert entry["tokens"] == record["usage"]["total_tokens"] > 1000
    assert entry["reserved_tokens"] >= entry["tokens"]


async def test_a_following_response_goes_to_the_resource_that_stores_the_previous_one(stack: Stack) -> None:
    definition = {
        "endpoint": f"{stack.simulator_url}/eastus", "upstream_deployment": "gpt-4o", "model": "gpt-4o",
        "region": "eastus", "zone": "us", "auth": "api_key", "priority": 0,
    }  # fmt: skip
    first = await create(stack)
    await stack.manage("PUT", "/manage/backends/us-gpt-4o", definition)
    await stack.manage("PUT", "/manage/deployments/gpt-4o", {"backends": ["se-gpt-4o", "us-gpt-4o"]})
    await create(stack, "And?", previous_response_id=first["id"])
    await create(stack, "Anew")
    assert [record["region"] for record in await asked(stack)] == ["swedencentral", "swedencentral", "eastus"]
    await stack.manage("PUT", "/manage/deployments/gpt-4o", {"backends": ["us-gpt-4o"]})
    body = {"model": "gpt-4o", "input": "And?", "previous_response_id": first["id"]}
    status, answer = await call(stack, "POST", "/responses", body)
    assert (status, answer["error"]["code"]) == (404, "response_not_found")


async def test_a_response_stored_outside_the_tenants_residency_cannot_be_read(stack: Stack) -> None:
    made = await create(stack)
    await stack.set_residency("us")
    status, answer = await call(stack, "GET", f"/responses/{made['id']}")
    assert (status, answer["error"]["code"]) == (403, "residency_violation")
    await stack.manage("POST", f"/manage/tenants/{stack.tenant}/suspend")
    assert (await call(stack, "GET", f"/responses/{made['id']}"))[1]["error"]["code"] == "tenant_suspended"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"conversation": "conv_1"}, "conversation"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]}, "tools"),
        ({"tools": ["x"]}, "tools"),
        ({"tools": [{"type": ["function"]}]}, "tools"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input"),
    ],
)
async def test_fields_that_name_foreign_objects_or_separately_billed_tools_are_refused(
    stack: Stack, fields: dict[str, Any], param: str
) -> None:
    status, answer = await call(stack, "POST", "/responses", {"model": "gpt-4o", "input": "Hi", **fields})
    assert (status, answer["error"]["param"]) == (400, param)
    assert await stack.requests() == []


async def test_a_part_whose_type_is_no_text_is_counted_as_text(stack: Stack) -> None:
    odd = [{"role": "user", "content": [{"type": ["input_image"], "note": "Hi"}]}]
    status, _ = await call(stack, "POST", "/responses", {"model": "gpt-4o", "input": odd})
    assert status != 500
    assert len(await stack.requests()) == 1


async def test_functions_are_called(stack: Stack) -> None:
    tools = [{"type": "function", "name": "answer", "parameters": {"type": "object", "properties": {}}}]
    made = await create(stack, tools=tools)
    assert made["output"][0]["name"] == "answer"
    body = await create(stack, tools=tools, stream=True)
    assert b"response.function_call_arguments.delta" in body
    assert [entry["tokens"] for entry in await stack.entries()] == [
        record["usage"]["total_tokens"] for record in await asked(stack)
    ]


@pytest.mark.parametrize("tools", [False, True])
async def test_a_response_without_usage_is_estimated(stack: Stack, tools: bool) -> None:
    await stack.fault(kind="no_usage", count=2)
    fields = {"tools": [{"type": "function", "name": "answer"}]} if tools else {}
    await create(stack, **fields)
    await create(stack, stream=True, **fields)
    entries = await stack.entries()
    assert [entry["estimated"] for entry in entries] == [True, True]
    for entry, record in zip(entries, await asked(stack), strict=True):
        assert abs(entry["usage"]["output"] - record["usage"]["output_tokens"]) <= 10


async def test_a_broken_response_is_charged_for_the_delivered_text(stack: Stack) -> None:
    await stack.fault(kind="break", after_chunks=8)
    body = await create(stack, stream=True)
    entry, record = await settled(stack)
    assert b'"code":"backend_error"' in body
    assert (entry["estimated"], entry["usage"]["output"]) == (True, record["usage"]["output_tokens"])


async def test_a_filtered_prompt_is_charged_for_its_input(stack: Stack) -> None:
    status, answer = await call(stack, "POST", "/responses", {"model": "gpt-4o", "input": "[filter-prompt]"})
    entry, _ = await settled(stack)
    assert (status, answer["error"]["code"], entry["error_code"]) == (400, "content_filter", "content_filter")


@pytest.mark.parametrize("stream", [True, False])
async def test_findings_of_responses_are_booked(stack: Stack, stream: bool) -> None:
    await create(stack, "[annotate-prompt]", **({"stream": True} if stream else {}))
    entry, _ = await settled(stack)
    assert entry["content_filter"] == "jailbreak:detected,violence:medium"


async def test_defaults_of_the_deployment_reach_responses(stack: Stack) -> None:
    settings = {"backends": ["se-gpt-4o"], "temperature": 0.3, "max_output_tokens": 9, "system_prompt": "Be kind."}
    await stack.manage("PUT", "/manage/deployments/gpt-4o", settings)
    await create(stack)
    await create(stack, instructions="Be brief.", temperature=1, max_output_tokens=4)
    first, second = (record["body"] for record in await asked(stack))
    assert (first["temperature"], first["max_output_tokens"], first["instructions"]) == (0.3, 9, "Be kind.")
    assert (second["temperature"], second["max_output_tokens"]) == (1, 4)
    assert second["instructions"] == "Be kind.\n\nBe brief."
    await stack.manage("PUT", "/manage/deployments/chat", {"backends": ["se-gpt-4o"], "temperature": 0.1})
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"deployments": ["chat"]})
    await create(stack, model="chat")
    third = (await asked(stack))[-1]["body"]
    assert (third["model"], third["temperature"], "instructions" in third) == ("gpt-4o", 0.1, False)


async def test_a_background_response_is_charged_once_it_is_complete(stack: Stack) -> None:
    gateway = await stack.gateway()
    made = await create(stack, background=True)
    assert made["status"] == "queued"
    assert await stack.entries() == []
    assert (await stack.usage())["tokens_reserved"] > 0
    assert await gateway.inference.settle_background() == 0
    assert await gateway.inference.settle_background() == 1
    assert await gateway.inference.settle_background() == 0
    entry, record = await settled(stack)
    assert (entry["tokens"], entry["estimated"]) == (record["usage"]["total_tokens"], False)
    status, answer = await call(stack, "GET", f"/responses/{made['id']}")
    assert (status, answer["status"]) == (200, "completed")
    assert (await stack.usage())["tokens_reserved"] == 0


async def test_the_timer_settles_background_responses(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    await create(stack, background=True)
    for _ in range(2):
        await timers.settle_background_responses(past_due=False)
    assert caplog.text.count('"gateway.timer.count.responses_settled": 1') == 1


async def test_a_background_response_that_the_backend_does_not_store_is_charged_for_its_hold(stack: Stack) -> None:
    await create(stack, background=True, store=False, max_output_tokens=77)
    assert await (await stack.gateway()).inference.settle_background() == 1
    entry, _ = await settled(stack)
    assert (entry["error_code"], entry["estimated"], entry["usage"]["output"]) == ("response_gone", True, 77)


async def test_a_background_response_that_is_cancelled_is_settled_at_once(stack: Stack) -> None:
    made = await create(stack, background=True)
    status, answer = await call(stack, "POST", f"/responses/{made['id']}/cancel")
    assert (status, answer["status"]) == (200, "cancelled")
    entry, record = await settled(stack)
    assert (entry["usage"]["output"], entry["tokens"]) == (0, record["usage"]["total_tokens"])
    assert await (await stack.gateway()).inference.settle_background() == 0


@pytest.mark.parametrize("fault", [{"kind": "status", "status": 500}, {"kind": "refuse", "count": 2}])
async def test_a_backend_that_cannot_be_asked_is_asked_again(stack: Stack, fault: dict[str, Any]) -> None:
    gateway = await stack.gateway()
    await create(stack, background=True)
    await stack.fault(deployment="responses", **fault)
    assert [await gateway.inference.settle_background() for _ in range(3)] == [0, 0, 1]


async def test_a_background_stream_whose_caller_leaves_is_settled_by_the_timer(stack: Stack) -> None:
    await stack.fault(kind="stall", after_chunks=6)
    body = {"model": "gpt-4o", "input": "Hello!", "background": True, "stream": True}
    async with stack.session.post(
        f"{stack.url}/openai/v1/responses", json=body, headers={"api-key": stack.key}
    ) as response:
        await response.content.readuntil(b"output_text.delta")
        response.close()
    gateway = await stack.gateway()
    await eventually(lambda: stack.simulator.records[0].outcome == "client_disconnected")
    await stack.settled()
    assert await stack.entries() == []
    ((response_id, _),) = [each async for each in gateway.inference.settle_background._directory.deferred()]
    status, events = await call(stack, "GET", f"/responses/{response_id}", query="?stream=true")
    assert (status, b"event: response.completed" in events) == (200, True)
    await stack.settled()
    assert await gateway.inference.settle_background() == 0
    entry, record = await settled(stack)
    assert entry["tokens"] == record["usage"]["total_tokens"]


async def test_a_stored_response_whose_stream_breaks_is_cut(stack: Stack) -> None:
    made = await create(stack)
    await stack.fault(deployment="responses", kind="refuse", count=2)
    status, _ = await call(stack, "GET", f"/responses/{made['id']}")
    assert status == 502
    await stack.fault(deployment="responses", kind="status", status=500)
    status, _ = await call(stack, "GET", f"/responses/{made['id']}")
    assert status == 502
    await stack.fault(deployment="responses/stream", kind="break", after_chunks=1)
    with pytest.raises(aiohttp.ClientPayloadError):
        await call(stack, "GET", f"/responses/{made['id']}", query="?stream=true")


async def test_a_caller_may_leave_while_a_stored_response_is_streamed_again(stack: Stack) -> None:
    made = await create(stack)
    await stack.fault(deployment="responses/stream", kind="stall", after_chunks=1)
    async with stack.session.get(
        f"{stack.url}/openai/v1/responses/{made['id']}?stream=true", headers={"api-key": stack.key}
    ) as response:
        await response.content.readany()
        response.close()
    await eventually(lambda: stack.simulator.records[-1].outcome == "client_disconnected")


@pytest.mark.parametrize("stack_settings", [{"TALLYGATE_STORAGE": "memory"}], indirect=True)
async def test_a_streamed_response_whose_owner_cannot_be_stored_ends_with_an_error(stack: Stack) -> None:
    directory = (await stack.gateway()).inference.serve._resolve._responses
    assert isinstance(directory, TableResponses)
    before, directory._store = directory._store, Unavailable()
    body = await create(stack, stream=True)
    directory._store = before
    assert b'"code":"ledger_unavailable"' in body
    assert b"response.completed" not in body
    entry, record = await settled(stack)
    assert (entry["tokens"], entry["estimated"]) == (record["usage"]["total_tokens"], False)


@pytest.mark.parametrize("stack_settings", [{"TALLYGATE_STORAGE": "memory"}], indirect=True)
async def test_a_response_whose_owner_cannot_be_stored_is_not_served(stack: Stack) -> None:
    gateway = await stack.gateway()
    directory = gateway.inference.serve._resolve._responses
    assert isinstance(directory, TableResponses)
    before, directory._store = directory._store, Unavailable()
    status, answer = await call(stack, "POST", "/responses", {"model": "gpt-4o", "input": "Hi"})
    directory._store = before
    assert (status, answer["error"]["code"]) == (503, "ledger_unavailable")
    entry, record = await settled(stack)
    assert entry["tokens"] == record["usage"]["total_tokens"]
    assert json.dumps(answer).count("Retry") == 1


class Unavailable(InMemoryTableStore):
    """A store that cannot be reached."""

    async def create_table(self, table: str) -> None:
        raise AnswerLost(table)


async def test_of_the_responses_that_the_simulator_stores_the_newest_are_known(stack: Stack) -> None:
    stack.simulator.most_kept = 1
    made = [await create(stack) for _ in range(2)]
    assert [*stack.simulator.kept] == [made[1]["id"]]
