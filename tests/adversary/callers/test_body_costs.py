"""Callers whose bodies cost the gateway time or memory: nothing is read before a limit that refuses it anyway."""

from __future__ import annotations

import asyncio
import io
import json
import threading
import time
from typing import Any

import pytest

from shared.adapters.azure_openai.formats.chat import ChatCompletions
from shared.adapters.request_bodies import BodyBudget
from shared.domain.errors import BodiesTooLarge
from tests.tools.raw_caller import UnfinishedRequest, unfinished
from tests.tools.stack import Stack, eventually

LARGE = 1_000_000
SMALL_BUDGET = {"BODY_BUDGET_BYTES": "400000", "MAX_BODY_BYTES": "200000"}


async def refusal(request: UnfinishedRequest) -> tuple[int, str]:
    status, _, body = await request.answer()
    return status, body["error"]["code"]


async def change(stack: Stack, **fields: Any) -> None:
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", fields)


async def budget(stack: Stack) -> BodyBudget:
    return (await stack.gateway()).inference.bodies._budget


@pytest.mark.parametrize("size", [10, LARGE, None])
async def test_a_suspended_tenant_is_refused_before_its_body(stack: Stack, size: int | None) -> None:
    await stack.manage("POST", f"/manage/tenants/{stack.tenant}/suspend")
    async with unfinished(stack, size) as request:
        assert await refusal(request) == (403, "tenant_suspended")


@pytest.mark.parametrize("size", [LARGE, None])
async def test_an_exhausted_quota_refuses_before_a_large_body(stack: Stack, size: int | None) -> None:
    await change(stack, monthly_quota_tokens=0)
    async with unfinished(stack, size) as request:
        assert await refusal(request) == (429, "quota_exceeded")


async def test_an_exhausted_quota_refuses_before_any_body_once_it_has_refused(stack: Stack) -> None:
    await change(stack, monthly_quota_tokens=0)
    assert (await stack.chat())[0] == 429
    async with unfinished(stack, 10) as request:
        assert await refusal(request) == (429, "quota_exceeded")
    await change(stack, monthly_quota_tokens=1_000_000)
    assert [(await stack.chat())[0] for _ in range(2)] == [200, 200]


async def test_an_exhausted_rate_refuses_before_a_large_body_and_the_question_does_not_count(stack: Stack) -> None:
    await change(stack, requests_per_minute=2)
    text = "x" * 100_000
    assert [(await stack.chat(text))[0] for _ in range(2)] == [200, 200]
    async with unfinished(stack, LARGE) as request:
        status, headers, body = await request.answer()
        assert (status, body["error"]["code"]) == (429, "rate_limit_exceeded")
        assert 0 < int(headers["retry-after"]) <= 60
    assert [entry["kind"] for entry in await stack.entries()] == ["charge", "charge"]


async def test_a_refused_caller_may_send_its_body_and_use_the_connection_again(stack: Stack) -> None:
    await change(stack, monthly_quota_tokens=0)
    body = json.dumps({"messages": [{"role": "user", "content": "x" * LARGE}]}).encode()
    async with unfinished(stack, len(body)) as request:
        assert await refusal(request) == (429, "quota_exceeded")
        await request.send(body)
        await request.send(b"GET /healthz HTTP/1.1\r\nHost: gateway\r\n\r\n")
        assert (await request.answer())[0] == 200


@pytest.mark.parametrize("stack_settings", [SMALL_BUDGET], indirect=True)
async def test_a_body_beyond_the_limit_is_refused_and_the_connection_closed(stack: Stack) -> None:
    async with unfinished(stack, 200_001) as request:
        assert await refusal(request) == (413, "request_too_large")
        assert await request.is_closed()
    async with unfinished(stack, None) as request:
        await request.send(b"30D41\r\n" + b"x" * 200_001)
        assert await refusal(request) == (413, "request_too_large")
        assert await request.is_closed()


@pytest.mark.parametrize("stack_settings", [{"BODY_TIMEOUT_SECONDS": "0.1"}], indirect=True)
@pytest.mark.parametrize("size", [10, LARGE, None])
async def test_a_body_that_does_not_come_is_given_up(stack: Stack, size: int | None) -> None:
    async with unfinished(stack, size) as request:
        assert await refusal(request) == (408, "request_timeout")
        assert await request.is_closed()
    assert (await budget(stack))._held == {}


async def test_a_body_that_trickles_is_given_up(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shared.adapters.request_bodies._GRACE_SECONDS", 0.2)
    async with unfinished(stack, LARGE) as request:

        async def trickle() -> None:
            while True:
                await request.send(b"x")
                await asyncio.sleep(0.01)

        sending = asyncio.create_task(trickle())
        assert await refusal(request) == (408, "request_timeout")
        sending.cancel()


@pytest.mark.parametrize("stack_settings", [SMALL_BUDGET], indirect=True)
async def test_a_tenant_cannot_take_the_memory_that_others_need_for_their_bodies(stack: Stack) -> None:
    other = await stack.register(f"{stack.tenant}-b")
    memory = await budget(stack)
    async with unfinished(stack, 150_000) as first:
        await first.send(b"x")
        await eventually(lambda: bool(memory._held))
        async with unfinished(stack, 150_000) as second:
            status, headers, body = await second.answer()
            assert (status, body["error"]["code"], headers["retry-after"]) == (503, "overloaded", "1")
        assert (await stack.chat("x" * 90_000, key=other))[0] == 200
        assert (await stack.chat())[0] == 200  # a small body needs no budget
    await eventually(lambda: not memory._held)  # the caller has gone, and its memory is free at once
    assert (await stack.chat("x" * 150_000))[0] == 200
    assert memory._held == {}


@pytest.mark.parametrize("stack_settings", [SMALL_BUDGET], indirect=True)
async def test_a_body_in_chunks_takes_memory_as_it_comes(stack: Stack) -> None:
    memory = await budget(stack)
    async with unfinished(stack, None) as first, unfinished(stack, None) as second:
        await first.send(b"249F0\r\n" + b"x" * 150_000)
        await eventually(lambda: sum(memory._held.values()) == 150_000)
        await second.send(b"249F0\r\n" + b"x" * 150_000)
        assert await refusal(second) == (503, "overloaded")


@pytest.mark.parametrize("stack_settings", [{"BODY_TIMEOUT_SECONDS": "0.2"}], indirect=True)
async def test_a_server_that_stops_is_not_a_slow_body(stack: Stack) -> None:
    reader, loop = (await stack.gateway()).inference.bodies, asyncio.get_running_loop()
    never = loop.create_future()

    async def receive() -> Any:
        return await never

    reading = asyncio.create_task(reader.read(receive, {}, None))
    await asyncio.sleep(0)
    loop.call_soon(time.sleep, 0.5)  # a body that came meanwhile has not been read yet
    loop.call_later(0.05, never.set_result, {"type": "http.request", "body": b"{}"})
    assert await reading == b"{}"
    reading = asyncio.create_task(reader.read(asyncio.Event().wait, {}, None))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading


async def test_memory_for_bodies_is_given_back_body_by_body() -> None:
    memory = BodyBudget(100)
    memory.take("a", 30)
    memory.take("a", 20)
    with pytest.raises(BodiesTooLarge):
        memory.take("a", 1)  # as much as is left for the others
    memory.take("b", 25)
    memory.give_back("a", 20)
    memory.take("a", 1)
    memory.give_back("a", 31)
    memory.give_back("b", 25)
    assert (memory._free, memory._held) == (100, {})


PLAIN = json.dumps({"messages": [{"role": "user", "content": "x" * 300_000}]}).encode()
ELEMENTS = b'{"messages":[' + b'{"role":"user","content":""},' * 40_000 + b'{"role":"user","content":"a"}]}'
VALUES = b'{"messages":[{"role":"user","content":"a"}],"x":[' + b"0," * 1_000_001 + b"0]}"
IN_STRINGS = json.dumps({"messages": [{"role": "user", "content": '{[:,\\"' * 300_000}]}).encode()


@pytest.mark.parametrize(("body", "status"), [(ELEMENTS, 400), (VALUES, 400), (IN_STRINGS, 200), (PLAIN, 200)])
async def test_a_body_of_very_many_elements_is_refused_before_it_is_decoded(
    stack: Stack, body: bytes, status: int
) -> None:
    headers = {"api-key": stack.key, "content-type": "application/json"}
    async with stack.session.post(stack.chat_url, data=io.BytesIO(body), headers=headers) as response:
        assert response.status == status, await response.text()
        if status == 400:
            assert "too many elements" in (await response.json())["error"]["message"]


async def test_large_bodies_leave_the_threads_on_which_storage_waits(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every request of the Azure SDK takes one of the loop's own threads, to look for a proxy."""
    read_request, go_on, reading = ChatCompletions.read_request, threading.Event(), threading.Event()

    def read_slowly(self: ChatCompletions, body: bytes, content_type: str) -> Any:
        reading.set()
        assert go_on.wait(60)
        return read_request(self, body, content_type)

    monkeypatch.setattr(ChatCompletions, "read_request", read_slowly)
    bodies = [asyncio.create_task(stack.chat("x" * 300_000)) for _ in range(40)]
    try:
        await eventually(reading.is_set)
        assert await asyncio.wait_for(asyncio.to_thread(lambda: "free"), 20) == "free"
    finally:
        go_on.set()
    assert {(await each)[0] for each in bodies} == {200}
