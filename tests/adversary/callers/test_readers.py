"""Callers who read slowly or not at all: they hold nothing for long, and their answers are booked."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.tools.raw_caller import unread
from tests.tools.scripted_backend import EVENT, EVENTS, endless, scripted_backend
from tests.tools.stack import Stack, eventually

HASTY = {"CLIENT_STALL_TIMEOUT_SECONDS": "0.2", "DRAIN_TIMEOUT_SECONDS": "0.2"}


async def in_flight(stack: Stack) -> int:
    return int((await stack.health())["scripted"]["in_flight"])


@pytest.mark.parametrize("stack_settings", [HASTY], indirect=True)
async def test_a_reader_who_never_reads_is_cut_and_settled_and_its_place_is_free(stack: Stack) -> None:
    async with scripted_backend(stack, endless, max_concurrent_requests=1), unread(stack):
        entry = await _entry(stack)
        assert (entry["kind"], entry["error_code"], entry["estimated"]) == ("charge", "client_stalled", True)
        assert entry["usage"]["output_tokens"] > 0
        assert await in_flight(stack) == 0
        assert (await stack.usage())["tokens_reserved"] == 0


@pytest.mark.parametrize(
    "stack_settings",
    [{"BACKEND_TOTAL_TIMEOUT_SECONDS": "0.3", "KEEP_ALIVE_SECONDS": "0.1", "FAILOVER_TIMEOUT_SECONDS": "1"}],
    indirect=True,
)
async def test_the_total_timeout_covers_the_time_for_which_a_reader_does_not_read(stack: Stack) -> None:
    async with scripted_backend(stack, endless), unread(stack):
        entry = await _entry(stack)
        assert (entry["kind"], entry["error_code"]) == ("charge", "client_stalled")
        assert (await stack.health())["scripted"]["failures"] == 0  # the backend is not to blame


@pytest.mark.parametrize("stack_settings", [HASTY], indirect=True)
async def test_a_reader_of_a_byte_at_a_time_is_cut(stack: Stack) -> None:
    loop = asyncio.get_running_loop()
    async with scripted_backend(stack, endless), unread(stack) as connection:

        async def trickle() -> None:
            while True:
                await loop.sock_recv(connection, 1)
                await asyncio.sleep(0.01)

        reading = asyncio.create_task(trickle())
        entry = await _entry(stack)
        reading.cancel()
        assert entry["error_code"] == "client_stalled"


@pytest.mark.parametrize("stack_settings", [HASTY], indirect=True)
async def test_an_answer_in_one_piece_that_nobody_reads_is_booked_and_given_up(stack: Stack) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}
    document = {"choices": [{"index": 0, "message": {"content": "x" * 20_000_000}}], "usage": usage}
    body = json.dumps(document).encode()

    async def large(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body))
        writer.write(body)

    async with scripted_backend(stack, large), unread(stack, stream=False) as connection:
        loop, received = asyncio.get_running_loop(), 0
        entry = await _entry(stack)
        await eventually(lambda: not _answering())
        while part := await loop.sock_recv(connection, 1_000_000):
            received += len(part)
        assert 0 < received < len(body)
        assert (entry["usage"]["output_tokens"], entry["error_code"]) == (5, "")


def _answering() -> bool:
    """Tell whether the server has a request that is not yet answered."""
    return any("run_asgi" in repr(task.get_coro()) for task in asyncio.all_tasks())


async def test_a_reader_who_reads_gets_a_large_answer_whole(stack: Stack) -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 5, "total_tokens": 14}
    document = {"choices": [{"index": 0, "message": {"content": "y" * 1_000_000}}], "usage": usage}
    body = json.dumps(document).encode()

    async def large(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body))
        writer.write(body)

    async with scripted_backend(stack, large):
        status, headers, answer = await stack.chat()
        assert (status, headers["content-length"], answer) == (200, str(len(body)), document)


@pytest.mark.parametrize("stack_settings", [{"QUEUE_TIMEOUT_SECONDS": "0"}], indirect=True)
async def test_a_tenant_with_slow_streams_leaves_a_place_for_the_others(stack: Stack) -> None:
    other = await stack.register(f"{stack.tenant}-b")
    is_over = asyncio.Event()

    async def slow(writer: asyncio.StreamWriter) -> None:
        writer.write(EVENTS + EVENT)
        await writer.drain()
        await is_over.wait()

    async with scripted_backend(stack, slow, max_concurrent_requests=3):
        async with unread(stack), unread(stack):
            await _reached(stack, 2)
            assert (await stack.chat(stream=True))[0] == 503
            async with unread(stack, key=other):
                await _reached(stack, 3)
            is_over.set()


async def _reached(stack: Stack, requests: int) -> None:
    while await in_flight(stack) < requests:  # noqa: ASYNC110 - there is no event to await
        await asyncio.sleep(0.005)


async def _entry(stack: Stack) -> dict[str, Any]:
    """Wait for the only entry of a test."""
    while not (entries := await stack.entries()):  # noqa: ASYNC110 - there is no event to await
        await asyncio.sleep(0.005)
    (entry,) = entries
    return entry
