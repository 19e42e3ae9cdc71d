"""Streams over ASGI: the server cancels or fails, and the caller disconnects or sends something else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from shared.application.inference.meter_stream import MeteredStream
from shared.composition.inference import ReaderTimes
from shared.http.inference.streaming import DISCONNECTED, KEEP_ALIVE, EventStreamResponse

PATIENT = ReaderTimes(keep_alive_seconds=60, stall_seconds=60, total_seconds=60)


class Endless(MeteredStream):
    """Yield one event, and nothing more."""

    def __init__(self) -> None:
        self.abandoned = list[str]()
        self.began = asyncio.Event()

    @property
    def is_text(self) -> bool:
        return True

    async def forward(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        await send(b"data: 1\n\n")
        self.began.set()
        await asyncio.Event().wait()

    def abandon(self, error_code: str) -> None:
        self.abandoned.append(error_code)


async def test_a_server_that_shuts_down_leaves_the_booking_to_the_stream() -> None:
    stream, sent = Endless(), list[Any]()

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message)

    serving = asyncio.ensure_future(EventStreamResponse(stream, [], PATIENT)({}, receive, send))
    await stream.began.wait()
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    assert (stream.abandoned, sent[1]["body"]) == ([DISCONNECTED], b"data: 1\n\n")


async def test_only_a_disconnect_ends_a_stream() -> None:
    stream = Endless()
    messages = [{"type": "http.request"}, {"type": "http.request"}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        await stream.began.wait()
        return messages.pop(0)

    async def send(_: Any) -> None:
        return None

    await EventStreamResponse(stream, [], PATIENT)({}, receive, send)
    assert (stream.abandoned, messages) == ([DISCONNECTED], [])


async def test_a_server_that_fails_to_send_counts_as_a_disconnect() -> None:
    stream = Endless()

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        if message.get("body"):
            raise BrokenPipeError

    await EventStreamResponse(stream, [], PATIENT)({}, receive, send)
    assert stream.abandoned == [DISCONNECTED]


async def test_at_most_one_comment_waits_for_a_slow_caller() -> None:
    stream, sent = Endless(), list[bytes]()
    is_asked = asyncio.Event()

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))
        if message.get("body") == KEEP_ALIVE:
            is_asked.set()
            await asyncio.Event().wait()

    response = EventStreamResponse(stream, [], replace(PATIENT, keep_alive_seconds=0.001))
    serving = asyncio.ensure_future(response({}, receive, send))
    await is_asked.wait()
    loop = asyncio.get_running_loop()
    comments_due = asyncio.Event()
    loop.call_later(0.02, comments_due.set)
    await comments_due.wait()
    assert sent == [b"", b"data: 1\n\n", KEEP_ALIVE]
    serving.cancel()
    await asyncio.wait([serving])
