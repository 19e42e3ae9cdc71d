"""Upstreams whose answers have no end, or no bound."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shared.adapters.azure_openai.formats.all_formats import FORMATS
from tests.tools.scripted_backend import EVENT, EVENTS, endless, scripted_backend
from tests.tools.stack import Stack

CHAT: Any = FORMATS["chat/completions"]


@pytest.mark.parametrize("stack_settings", [{"BACKEND_TOTAL_TIMEOUT_SECONDS": "0.5"}], indirect=True)
async def test_a_stream_without_an_end_is_ended_by_the_total_timeout(stack: Stack) -> None:
    async with scripted_backend(stack, endless):
        status, _, body = await stack.chat(stream=True)
        assert (status, b"total timeout of 0.5 s" in body[-300:]) == (200, True)
        await stack.settled()
        (entry,) = await stack.entries()
        assert (entry["kind"], entry["estimated"], entry["error_code"]) == ("charge", True, "backend_timeout")
        assert entry["usage"]["output_tokens"] > 0


async def test_an_event_without_an_end_is_bounded(stack: Stack) -> None:
    async def one_event(writer: asyncio.StreamWriter) -> None:
        writer.write(EVENTS + EVENT + b"data: ")
        while True:
            writer.write(b"x" * 1_000_000)
            await writer.drain()
            await asyncio.sleep(0)

    async with scripted_backend(stack, one_event):
        status, _, body = await stack.chat(stream=True)
        assert (status, b"exceeds the largest size of an event" in body) == (200, True)
        await stack.settled()
        (entry,) = await stack.entries()
        assert (entry["kind"], entry["estimated"], entry["error_code"]) == ("charge", True, "backend_error")


def test_a_begun_event_is_searched_once_and_never_copied() -> None:
    reader = CHAT.read_request(b'{"messages":[{"role":"user","content":"a"}],"stream":true}', "").reader()
    for part in (b'data: {"choices":[]}\n\ndata: ', b"x" * 1000, b"y\n", b"z\r\n", b"data: w\r\n\r"):
        assert reader.feed(part) in (b"", b'data: {"choices":[]}\n\n')
        begun = reader._incomplete
        assert reader.feed(b"x") == b""
        assert reader._incomplete is begun
    assert reader.feed(b"\r\n\r") == b""
    assert reader.feed(b"\n").endswith(b"x\r\n\r\n")


def test_many_small_events_that_look_like_the_last_one_cost_no_more_than_others() -> None:
    class Counted(bytes):
        searches = 0

        def find(self, *how: Any) -> int:
            Counted.searches += 1
            return super().find(*how)

        def rfind(self, *how: Any) -> int:
            Counted.searches += 1
            return super().rfind(*how)

    reader = CHAT.read_request(b'{"messages":[{"role":"user","content":"a"}],"stream":true}', "").reader()
    reader.feed(Counted(b'data: {"usage":0}\n\n' * 5000))
    assert Counted.searches < 20


@pytest.mark.parametrize("stack_settings", [{"MAX_ANSWER_BYTES": "100000"}], indirect=True)
@pytest.mark.parametrize("length", [b"Content-Length: 200000\r\n", b"Connection: close\r\n"])
async def test_an_answer_in_one_piece_is_bounded_and_charged_as_held(stack: Stack, length: bytes) -> None:
    async def large(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n" + length + b"\r\n")
        writer.write(b"{" + b" " * 199_999)

    async with scripted_backend(stack, large, max_concurrent_requests=1):
        status, headers, body = await stack.chat(max_tokens=50)
        assert (status, body["error"]["code"], headers["x-should-retry"]) == (502, "backend_error", "false")
        await stack.settled()
        (entry,) = await stack.entries()
        assert (entry["usage"]["output_tokens"], entry["estimated"], entry["error_code"]) == (
            50,
            True,
            "answer_too_large",
        )
        assert (await stack.health())["scripted"]["in_flight"] == 0


async def test_events_after_the_last_one_are_bounded(stack: Stack) -> None:
    async def chatty(writer: asyncio.StreamWriter) -> None:
        writer.write(EVENTS + EVENT + b"data: [DONE]\n\n" + b": more\n\n" * 1_000_000)

    async with scripted_backend(stack, chatty):
        status, _, body = await stack.chat(stream=True)
        assert (status, b"[DONE]" in body, len(body) < 100_000) == (200, True, True)
