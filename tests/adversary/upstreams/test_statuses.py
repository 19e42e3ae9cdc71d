"""An answer with another status of success than 200 reaches its caller, so it is charged as any other."""

from __future__ import annotations

import asyncio

import pytest

from shared.adapters.azure_openai.upstream import AiohttpUpstream
from tests.functions.inference.test_responses import call, create
from tests.tools.scripted_backend import EVENT, EVENTS, scripted_backend
from tests.tools.stack import Stack

SUCCESSES = (201, 202, 203, 206, 226, 299)
USAGE = {"prompt_tokens": 9, "completion_tokens": 100, "total_tokens": 109}
COMPLETION = {"choices": [{"index": 0, "message": {"content": "word " * 100}}], "usage": USAGE}


@pytest.mark.parametrize("status", SUCCESSES)
async def test_no_status_of_success_makes_an_answer_free(stack: Stack, status: int) -> None:
    await stack.fault(kind="status", status=status, body=COMPLETION)
    assert (await stack.chat(max_tokens=200))[0] == status
    await stack.settled()
    (entry,) = await stack.entries()
    assert (entry["kind"], entry["tokens"], entry["estimated"]) == ("charge", 109, False)


async def test_no_status_of_success_makes_a_stream_free(stack: Stack) -> None:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(EVENTS.replace(b"200 OK", b"206 Partial Content") + EVENT * 40 + b"data: [DONE]\n\n")

    async with scripted_backend(stack, answer):
        _, _, body = await stack.chat(stream=True, max_tokens=200)
    await stack.settled()
    (entry,) = await stack.entries()
    assert (body.count(b" word"), entry["usage"]["output"], entry["estimated"]) == (40, 40, True)


@pytest.mark.parametrize("by", ["caller", "timer"])
async def test_a_response_that_has_ended_is_settled_whatever_the_status(
    stack: Stack, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = await create(stack, background=True)
    for kept in stack.simulator.kept.values():
        kept.look()
    send = AiohttpUpstream.send

    async def send_with_203(*args: object) -> object:
        response = await send(*args)  # type: ignore[arg-type]
        response.status = 203
        return response

    monkeypatch.setattr(AiohttpUpstream, "send", send_with_203)
    if by == "caller":
        assert (await call(stack, "GET", f"/responses/{made['id']}"))[1]["status"] == "completed"
    else:
        assert await (await stack.gateway()).inference.settle_background() == 1
    await stack.settled()
    (entry,) = await stack.entries()
    assert (entry["usage"]["output"], entry["estimated"]) == (40, False)
