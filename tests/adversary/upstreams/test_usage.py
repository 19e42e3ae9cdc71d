"""A usage that states nothing is estimated and marked, never booked as 0: whatever upstream writes in its place."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal
from typing import Any

import pytest

from tests.tools.scripted_backend import EVENTS, scripted_backend
from tests.tools.stack import PRICES, Stack, eventually

INPUT = 9
"""Tokens of the prompt `Hello!` with its role and its fixed part."""
USAGES: dict[str, Any] = {
    "empty": {},
    "total alone": {"total_tokens": 49},
    "zeros": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    "no output": {"prompt_tokens": INPUT, "completion_tokens": 0, "total_tokens": INPUT},
    "no input": {"prompt_tokens": 0, "completion_tokens": 40, "total_tokens": 40},
    "negative": {"prompt_tokens": -9, "completion_tokens": -40, "total_tokens": -49},
    "negative output": {"prompt_tokens": INPUT, "completion_tokens": -40},
    "booleans": {"prompt_tokens": True, "completion_tokens": True},
    "fractions": {"prompt_tokens": 9.0, "completion_tokens": 0.5},
    "texts": {"prompt_tokens": "9", "completion_tokens": "1"},
    "an array": {"prompt_tokens": [9], "completion_tokens": [40]},
    "a number": 7,
    "more cached than sent": {
        "prompt_tokens": 9, "completion_tokens": 40, "prompt_tokens_details": {"cached_tokens": 99}
    },
    "negative parts": {"prompt_tokens": 9, "completion_tokens": 40, "prompt_tokens_details": {"audio_tokens": -1}},
    "more altogether": {"prompt_tokens": 9, "completion_tokens": 40, "total_tokens": 99},
    "reasoning beside output": {
        "prompt_tokens": 9, "completion_tokens": 40, "total_tokens": 99,
        "completion_tokens_details": {"reasoning_tokens": 50},
    },
}  # fmt: skip


async def only(stack: Stack) -> dict[str, Any]:
    await stack.settled()
    (entry,) = await stack.entries()
    return entry


def event(delta: Any = None, **fields: Any) -> dict[str, Any]:
    return {"choices": [] if delta is None else [{"index": 0, "delta": delta}], **fields}


async def streamed(stack: Stack, *events: Any, model: str = "gpt-4o", **fields: Any) -> tuple[bytes, dict[str, Any]]:
    """Have upstream stream these events. Returns what the caller got, and the entry."""
    await stack.fault(kind="script", events=list(events))
    _, _, body = await stack.chat(url=stack.chat_url.replace("/gpt-4o/", f"/{model}/"), stream=True, **fields)
    return body, await only(stack)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("usage", USAGES.values(), ids=USAGES)
async def test_a_usage_that_cannot_be_booked_is_estimated(stack: Stack, usage: Any, stream: bool) -> None:
    await stack.fault(kind="lie", body={"usage": usage})
    status, _, body = await stack.chat(stream=stream)
    entry = await only(stack)
    assert (status, entry["estimated"]) == (200, True)
    assert (entry["usage"]["input"], entry["usage"]["cached_input"]) == (INPUT, 0)
    stated = usage.get("total_tokens", 0) if isinstance(usage, dict) else 0
    assert entry["usage"]["output"] == max(40, stated - INPUT)
    assert body if stream else json.loads(json.dumps(body))["usage"] == usage  # it passes all the same


async def test_parts_that_cannot_be_read_give_no_discount(stack: Stack) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 40, "prompt_tokens_details": {"cached_tokens": "9"}}
    await stack.fault(kind="lie", body={"usage": usage})
    await stack.chat()
    entry = await only(stack)
    assert (entry["usage"]["input"], entry["usage"]["cached_input"], entry["tokens"]) == (9, 0, 49)


async def test_an_estimate_is_never_below_what_upstream_stated(stack: Stack) -> None:
    usage = {"prompt_tokens": 700, "completion_tokens": 500, "prompt_tokens_details": {"cached_tokens": 701}}
    await stack.fault(kind="lie", body={"usage": usage})
    await stack.chat()
    entry = await only(stack)
    assert (entry["usage"]["input"], entry["usage"]["output"], entry["estimated"]) == (700, 500, True)


async def test_a_usage_before_the_text_is_not_believed(stack: Stack) -> None:
    early = event(usage={"prompt_tokens": INPUT, "completion_tokens": 1})
    texts = [event({"content": " word"}) for _ in range(30)]
    body, entry = await streamed(stack, early, *texts, "[DONE]")
    assert body.count(b" word") == 30
    assert (entry["estimated"], entry["usage"]["output"]) == (True, 30)


async def test_a_usage_with_each_event_is_believed_if_the_last_one_has_it(stack: Stack) -> None:
    usages = [{"prompt_tokens": INPUT, "completion_tokens": number} for number in range(1, 4)]
    events = [event({"content": " word"}, usage=usage) for usage in usages]
    _, entry = await streamed(stack, *events, event({}, usage=None), "[DONE]")
    assert (entry["estimated"], entry["tokens"]) == (False, INPUT + 3)


async def test_text_behind_the_end_of_a_stream_is_charged(stack: Stack) -> None:
    usage = event(usage={"prompt_tokens": INPUT, "completion_tokens": 1})
    texts = [event({"content": " word"}) for _ in range(30)]
    body, entry = await streamed(stack, event({"content": " word"}), usage, "[DONE]", *texts)
    assert body.count(b" word") == 31
    assert (entry["estimated"], entry["usage"]["output"]) == (True, 31)


@pytest.mark.parametrize("rest", ['{"choices":[{"index":0,"delta":{"content":" word"}}]}', "[DONE]"])
async def test_a_last_event_without_a_blank_line_is_read(stack: Stack, rest: str) -> None:
    usage = event(usage={"prompt_tokens": INPUT, "completion_tokens": 1})
    await stack.fault(kind="script", events=[event({"content": " word"}), usage], ending=f"data: {rest}")
    _, _, body = await stack.chat(stream=True)
    entry = await only(stack)
    assert rest.encode() in body
    assert (entry["estimated"], entry["usage"]["output"]) == ((True, 2) if "word" in rest else (False, 1))


@pytest.mark.parametrize("rest", ["{broken word", "x", ": word"])
async def test_the_rest_of_a_stream_that_is_no_event_is_discarded(stack: Stack, rest: str) -> None:
    usage = event(usage={"prompt_tokens": INPUT, "completion_tokens": 1})
    await stack.fault(kind="script", events=[event({"content": " a"}), usage], ending=rest)
    _, _, body = await stack.chat(stream=True)
    assert b"word" not in body
    assert (await only(stack))["estimated"] is False


async def test_events_that_are_separated_by_carriage_returns_are_counted(stack: Stack) -> None:
    text = json.dumps(event({"content": " word" * 20}))
    ending = f"data: {text}\r\rdata: {text}\r\n\r\ndata: [DONE]\n\n"
    await stack.fault(kind="script", events=[event({"content": " word"})], ending=ending)
    _, _, body = await stack.chat(stream=True)
    assert body.count(b" word") == 41
    assert (await only(stack))["usage"]["output"] == 41


async def test_images_that_never_come_are_charged_as_asked_for(stack: Stack) -> None:
    await stack.fault(kind="script", events=[{"type": "image_generation.partial_image", "b64_json": "QUJD"}])
    await stack.infer("images/generations", "gpt-image-1", {"prompt": "A fox", "n": 2, "stream": True})
    entry = await only(stack)
    assert (entry["error_code"], entry["estimated"]) == ("backend_error", True)
    assert (entry["usage"]["images"], entry["usage"]["output"]) == (2, 2 * 1_056)


async def test_what_follows_the_end_of_a_stream_is_limited(stack: Stack) -> None:
    filler = ["x" * 9_000] * 20
    body, _ = await streamed(stack, event(usage={"prompt_tokens": 9, "completion_tokens": 1}), "[DONE]", *filler)
    assert body.count(b"x" * 9_000) == 7


@pytest.mark.parametrize(
    "delta",
    [
        {"function_call": {"name": "f", "arguments": " word" * 50}},
        {"tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "f", "arguments": " word" * 50}}]},
        {"reasoning_content": " word" * 50},
        {"refusal": " word" * 50},
        {"audio": {"id": "a", "transcript": " word" * 50, "data": "QUJD" * 999}},
        {"content": [{"type": "text", "text": " word" * 50}]},
        {"a_field_of_next_year": [{"text": " word" * 50}]},
    ],
    ids=lambda delta: next(iter(delta)),
)
async def test_all_that_a_model_generates_is_part_of_an_estimate(stack: Stack, delta: Any) -> None:
    _, entry = await streamed(stack, event(delta), "[DONE]")
    assert (entry["estimated"], entry["usage"]["output"]) == (True, pytest.approx(50, abs=1))


async def test_an_event_of_odd_types_hides_no_text(stack: Stack) -> None:
    odd = {"choices": [{"index": "first", "delta": {"content": " word" * 20}}], "service_tier": 7, "usage": "none"}
    _, entry = await streamed(stack, odd, "[DONE]")
    assert (entry["estimated"], entry["usage"]["output"], entry["service_tier"]) == (True, 20, "")


@pytest.mark.parametrize("kind", ["break", "end", "no_usage"])
async def test_an_estimate_for_a_model_that_reasons_is_all_that_was_held(stack: Stack, kind: str) -> None:
    await stack.fault(kind=kind, after_chunks=6)
    url = stack.chat_url.replace("/gpt-4o/", "/o4-mini/")
    await stack.chat(url=url, stream=True, max_completion_tokens=1000)
    entry = await only(stack)
    assert (entry["estimated"], entry["usage"]["output"]) == (True, 1000)


async def test_a_caller_that_cuts_a_model_short_pays_for_what_it_may_have_reasoned(stack: Stack) -> None:
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"on_disconnect": "cut"})
    await stack.fault(kind="stall", after_chunks=3)
    body = {"messages": [{"role": "user", "content": "Hello!"}], "stream": True, "max_completion_tokens": 1000}
    url = stack.chat_url.replace("/gpt-4o/", "/o4-mini/")
    async with stack.session.post(url, json=body, headers={"api-key": stack.key}) as response:
        await response.content.readuntil(b"\n\n")
        response.close()
    await eventually(lambda: stack.simulator.records[0].outcome == "client_disconnected")
    entry = await only(stack)
    assert (entry["error_code"], entry["usage"]["output"]) == ("client_disconnected", 1000)


async def test_a_drained_stream_without_a_usage_is_charged_for_all_its_text(stack: Stack) -> None:
    await stack.fault(kind="script", events=[event({"content": " word"})] * 40 + [event({"content": " end"})])
    body = {"messages": [{"role": "user", "content": "Hello!"}], "stream": True}
    async with stack.session.post(stack.chat_url, json=body, headers={"api-key": stack.key}) as response:
        await response.content.readuntil(b"\n\n")
        response.close()
    await eventually(lambda: stack.simulator.records[0].outcome != "received")
    assert (await only(stack))["usage"]["output"] == 41


@pytest.mark.parametrize("usage", [{}, {"prompt_tokens": 0}, {"total_tokens": 3}, {"prompt_tokens": "3"}, None])
async def test_embeddings_are_charged_whatever_their_usage_says(stack: Stack, usage: Any) -> None:
    await stack.fault(kind="lie", body={"usage": usage})
    await stack.infer("embeddings", "text-embedding-3-small", {"input": ["one", "two words"]})
    entry = await only(stack)
    assert (entry["estimated"], entry["tokens"], entry["usage"]["input"]) == (True, 3, 3)


async def test_only_a_total_of_embeddings_is_input(stack: Stack) -> None:
    await stack.fault(kind="lie", body={"usage": {"total_tokens": 500}})
    await stack.infer("embeddings", "text-embedding-3-small", {"input": "one"})
    entry = await only(stack)
    assert (entry["usage"]["input"], entry["usage"]["output"]) == (500, 0)


@pytest.mark.parametrize(
    "usage", [{"input_tokens": 0, "output_tokens": 0}, {"input_tokens": 9, "output_tokens": 0}, {}]
)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_response_of_zero_tokens_is_estimated_by_its_text(stack: Stack, usage: Any, stream: bool) -> None:
    await stack.fault(kind="lie", body={"usage": usage})
    await stack.infer("responses", "gpt-4o", {"input": "Hello!", "stream": stream}, dated=False)
    entry = await only(stack)
    assert (entry["estimated"], entry["usage"]["output"]) == (True, 40)
    assert entry["usage"]["input"] > 0


async def test_a_response_whose_text_comes_in_one_event_is_charged(stack: Stack) -> None:
    item = {"id": "msg_1", "type": "message", "content": [{"type": "output_text", "text": " word" * 30}]}
    call = {"id": "fc_1", "type": "function_call", "name": "f", "arguments": " word" * 30}
    done = {"type": "response.output_item.done", "item": item}
    ended = {"type": "response.completed", "response": {"id": "resp_1", "output": [item, call, 7]}}
    sound = {"type": "response.audio.delta", "item_id": "msg_1", "delta": "QUJD" * 99}
    early = {"type": "response.created", "response": {"id": "resp_1", "usage": {"input_tokens": 9, "output_tokens": 1}}}
    await stack.fault(kind="script", events=[early, sound, done, ended])
    await stack.infer("responses", "gpt-4o", {"input": "Hello!", "stream": True}, dated=False)
    entry = await only(stack)
    assert (entry["estimated"], entry["usage"]["output"]) == (True, pytest.approx(60, abs=1))


async def test_text_behind_the_end_of_a_response_is_charged(stack: Stack) -> None:
    usage = {"input_tokens": 9, "output_tokens": 1}
    ended = {"type": "response.completed", "response": {"id": "resp_1", "usage": usage}}
    late = {"type": "response.output_text.delta", "item_id": "msg_1", "delta": " word" * 30}
    await stack.fault(kind="script", events=[ended, late])
    await stack.infer("responses", "gpt-4o", {"input": "Hello!", "stream": True}, dated=False)
    entry = await only(stack)
    assert (entry["estimated"], entry["usage"]["output"]) == (True, 30)


async def test_each_image_of_a_stream_counts(stack: Stack) -> None:
    usage = {"input_tokens": 4, "output_tokens": 272, "total_tokens": 276}
    events = [{"type": "image_generation.completed", "b64_json": "QUJD", "usage": usage}] * 4
    await stack.fault(kind="script", events=events)
    _, _, body = await stack.infer("images/generations", "gpt-image-1", {"prompt": "A fox", "n": 4, "stream": True})
    entry = await only(stack)
    assert body.count(b"image_generation.completed") == 4
    assert (entry["usage"]["images"], entry["usage"]["output"], entry["estimated"]) == (4, 4 * 272, False)


async def test_images_of_which_one_states_no_usage_are_estimated(stack: Stack) -> None:
    usage = {"input_tokens": 4, "output_tokens": 6_000, "total_tokens": 6_004}
    image = {"type": "image_generation.completed", "b64_json": "QUJD"}
    await stack.fault(kind="script", events=[{**image, "usage": usage}, image])
    await stack.infer("images/generations", "gpt-image-1", {"prompt": "A fox", "n": 3, "stream": True})
    entry = await only(stack)
    assert (entry["usage"]["images"], entry["usage"]["output"], entry["estimated"]) == (2, 2 * 6_000, True)


async def test_images_that_are_cut_off_are_taken_to_be_as_large_as_those_before(stack: Stack) -> None:
    usage = {"input_tokens": 4, "output_tokens": 6_000, "total_tokens": 6_004}
    image = b"data: %b\n\n" % json.dumps({"type": "image_generation.completed", "usage": usage}).encode()

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(EVENTS.replace(b"Connection: close", b"Transfer-Encoding: chunked"))
        writer.write(b"%x\r\n%b\r\n" % (len(image), image))  # the last chunk never comes

    async with scripted_backend(stack, answer, model="gpt-image-1"):
        body = {"prompt": "A fox", "n": 3, "stream": True}
        _, _, got = await stack.infer("images/generations", "gpt-4o", body)
        entry = await only(stack)
    assert got.startswith(image)
    assert (entry["error_code"], entry["estimated"]) == ("backend_error", True)
    assert (entry["usage"]["images"], entry["usage"]["output"]) == (3, 3 * 6_000)


@pytest.mark.parametrize("images", [{"data": []}, {"data": None}, {"data": "none"}])
async def test_an_answer_that_hides_its_images_is_charged_for_those_asked_for(stack: Stack, images: Any) -> None:
    await stack.fault(kind="lie", body=images)
    await stack.infer("images/generations", "dall-e-3", {"prompt": "A fox"})
    entry = await only(stack)
    assert (entry["usage"]["images"], entry["estimated"], Decimal(entry["cost_usd"])) == (1, True, Decimal("0.04"))


@pytest.mark.parametrize(("quality", "size"), [("HD", "1024X1792"), ("hd ", " 1024x1792"), ("Hd", "1024 x 1792")])
async def test_the_quality_and_size_of_images_are_priced_however_they_are_spelled(
    stack: Stack, quality: str, size: str
) -> None:
    await stack.infer("images/generations", "dall-e-3", {"prompt": "A fox", "quality": quality, "size": size})
    entry = await only(stack)
    price = Decimal(PRICES["dall-e-3"]["images hd 1024x1792"]) / 10**6
    assert (entry["variant"], Decimal(entry["cost_usd"])) == ("hd 1024x1792", price)
    assert Decimal(entry["reserved_usd"]) == price


@pytest.mark.parametrize("usage", [{}, {"input_tokens": 2, "output_tokens": 0}])
async def test_speech_of_zero_tokens_is_estimated(stack: Stack, usage: Any) -> None:
    done = {"type": "speech.audio.done", "usage": usage}
    await stack.fault(kind="script", events=[{"type": "speech.audio.delta", "audio": "QUJD"}, done])
    body = {"input": "Hello there", "voice": "alloy", "stream_format": "sse"}
    await stack.infer("audio/speech", "gpt-4o-mini-tts", body)
    entry = await only(stack)
    assert (entry["estimated"], entry["usage"]["output"]) == (True, 16)
