"""A stream is forwarded as it arrives, is kept open during silence, and ends only when it is booked."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.tools.stack import Stack

BODY: dict[str, Any] = {"messages": [{"role": "user", "content": "Hello!"}], "stream": True}


async def test_the_first_chunk_arrives_while_upstream_is_paused(stack: Stack) -> None:
    await stack.fault(kind="stall", after_chunks=3)
    async with stack.session.post(stack.chat_url, json=BODY, headers={"api-key": stack.key}) as response:
        async with asyncio.timeout(60):
            received = b""
            while received.count(b"\n\n") < 3:
                received += await response.content.readany()
        assert b"prompt_filter_results" in received
        assert (await stack.requests())[0]["outcome"] == "stall"
        await stack.release_faults()
        received += await response.read()
    assert received.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("stack_settings", [{"KEEP_ALIVE_SECONDS": "0.05"}], indirect=True)
async def test_silence_is_filled_with_comments_between_events(stack: Stack) -> None:
    await stack.fault(kind="stall", after_chunks=3)
    async with stack.session.post(stack.chat_url, json=BODY, headers={"api-key": stack.key}) as response:
        received = b""
        async with asyncio.timeout(60):
            while received.count(b": keep-alive\n\n") < 2:
                received += await response.content.readany()
        await stack.release_faults()
        received += await response.read()
    events = received.split(b"\n\n")
    assert all(event.startswith((b"data: ", b": keep-alive")) or not event for event in events)
    assert received.endswith(b"data: [DONE]\n\n")


async def test_the_stream_is_in_the_ledger_before_done_arrives(stack: Stack) -> None:
    async with stack.session.post(stack.chat_url, json=BODY, headers={"api-key": stack.key}) as response:
        received = b""
        while not received.endswith(b"data: [DONE]\n\n"):
            received += await response.content.readany()
            if b"[DONE]" in received:
                assert len(await stack.entries()) == 1
    assert b'"usage"' not in received.replace(b'"usage":null', b"")


async def test_a_stream_goes_through_byte_for_byte_when_usage_was_asked_for(stack: Stack) -> None:
    body = {**BODY, "stream_options": {"include_usage": True}}
    _, headers, received = await stack.chat(stream=True, stream_options=body["stream_options"])
    (record,) = await stack.requests()
    assert len(received) == record["bytes_sent"]
    assert headers["content-type"] == "text/event-stream; charset=utf-8"
    assert headers["x-gateway-backend"] == "se-gpt-4o"
    assert int(record["headers"]["content-length"]) > 0


async def test_other_stream_options_are_kept_when_usage_is_asked_for(stack: Stack) -> None:
    await stack.chat(stream=True, stream_options={"include_obfuscation": False})
    (record,) = await stack.requests()
    assert record["body"]["stream_options"] == {"include_obfuscation": False, "include_usage": True}


async def test_a_ledger_outage_at_the_end_of_a_stream_is_reported_in_the_stream(stack: Stack) -> None:
    gateway = await stack.gateway()
    ledger: Any = gateway.ledger.books
    await stack.fault(kind="stall", after_chunks=3)
    async with stack.session.post(stack.chat_url, json=BODY, headers={"api-key": stack.key}) as response:
        received = b""
        while received.count(b"\n\n") < 3:
            received += await response.content.readany()
        outage = _Outage(ledger._store)
        _swap_store(ledger, outage)
        await stack.release_faults()
        received += await response.read()
    assert b'"code":"ledger_unavailable"' in received
    assert b"[DONE]" not in received
    outage.over = True
    await stack.settled()
    assert [entry["kind"] for entry in await stack.entries()] == ["charge"]


@pytest.mark.parametrize("stack_settings", [{"BACKEND_IDLE_TIMEOUT_SECONDS": "0.3"}], indirect=True)
async def test_a_ledger_outage_is_reported_rather_than_the_failure_of_the_backend(stack: Stack) -> None:
    ledger: Any = (await stack.gateway()).ledger.books
    await stack.fault(kind="stall", after_chunks=3)
    async with stack.session.post(stack.chat_url, json=BODY, headers={"api-key": stack.key}) as response:
        received = await response.content.readany()
        outage = _Outage(ledger._store)
        _swap_store(ledger, outage)
        received += await response.read()
    assert b'"code":"ledger_unavailable"' in received
    outage.over = True
    await stack.settled()
    assert [entry["estimated"] for entry in await stack.entries()] == [True]


class _Outage:
    """A store that cannot be reached until the outage is over."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.over = False

    def __getattr__(self, name: str) -> Any:
        from shared.adapters.tables.store import AnswerLost

        if not self.over and name in ("get", "submit"):

            async def fail(*_: object) -> None:
                raise AnswerLost

            return fail
        return getattr(self._store, name)


def _swap_store(ledger: Any, store: Any) -> None:
    ledger._store = store
    for committer in ledger._committers.values():
        committer._store = committer.reader.store = store


async def test_a_buffered_answer_to_a_request_for_a_stream_is_passed_on_whole(stack: Stack) -> None:
    stack.simulator.never_streams = True
    status, headers, body = await stack.chat(stream=True)
    (entry,), (record,) = await stack.entries(), await stack.requests()
    assert (status, headers["content-type"]) == (200, "application/json")
    assert body["usage"] == record["usage"]
    assert (entry["tokens"], entry["estimated"]) == (record["usage"]["total_tokens"], False)
