"""The ASGI side of a stream, against a server that cancels and a caller that says more than goodbye."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from shared.application.meter_stream import MeteredStream
from shared.http.streaming import EventStreamResponse


class Endless(MeteredStream):
    """One event, then silence."""

    def __init__(self) -> None:
        self.abandoned = 0
        self.began = asyncio.Event()

    async def events(self) -> AsyncIterator[bytes]:
        yield b"data: 1\n\n"
        self.began.set()
        await asyncio.Event().wait()

    def abandon(self) -> None:
        self.abandoned += 1


async def test_a_server_that_shuts_down_leaves_the_booking_to_the_stream() -> None:
    stream, sent = Endless(), list[Any]()

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    serving = asyncio.ensure_future(EventStreamResponse(stream, [], 60)({}, receive, send))
    await stream.began.wait()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert (stream.abandoned, sent[1]["body"]) == (1, b"data: 1\n\n")


async def test_only_a_disconnect_ends_a_stream() -> None:
    stream = Endless()
    messages = [{"type": "http.request"}, {"type": "http.request"}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        await stream.began.wait()
        return messages.pop(0)

    async def send(_: Any) -> None:
        return None

    await EventStreamResponse(stream, [], 60)({}, receive, send)
    assert (stream.abandoned, messages) == (1, [])


async def test_a_server_that_fails_to_send_tells_that_the_caller_has_gone() -> None:
    stream = Endless()

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        if message.get("body"):
            raise BrokenPipeError

    await EventStreamResponse(stream, [], 60)({}, receive, send)
    assert stream.abandoned == 1


async def test_no_comment_is_sent_into_an_event_under_way() -> None:
    stream, sent = Endless(), list[bytes]()
    hold = asyncio.Event()

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))
        if message.get("body") == b"data: 1\n\n":
            await asyncio.sleep(0.03)
            hold.set()

    serving = asyncio.ensure_future(EventStreamResponse(stream, [], 0.01)({}, receive, send))
    await hold.wait()
    assert sent == [b"", b"data: 1\n\n"]
    serving.cancel()
    await asyncio.wait([serving])
