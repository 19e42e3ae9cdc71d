"""Every row of the settlement table for chat: the ledger books what the simulator served."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from shared.application.inference.incoming_call import IncomingCall
from shared.application.tenancy.principals import TenantPrincipal
from tests.tools.events import told
from tests.tools.stack import API_VERSION, Stack, eventually, free_port

INPUT = 9
"""Tokens of the prompt `Hello!` with its role and its fixed part."""


def billed(record: dict[str, Any]) -> tuple[int, int]:
    usage = record["usage"]
    return usage["prompt_tokens"], usage["completion_tokens"]


def booked(entry: dict[str, Any]) -> tuple[int, int]:
    usage = entry["usage"]
    return usage["input_tokens"], usage["output_tokens"]


async def only(stack: Stack) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the only entry and the only record of a test, once everything is settled."""
    await stack.settled()
    (entry,), (record,) = await stack.entries(), await stack.requests()
    return entry, record


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_is_charged_the_usage_of_the_backend(stack: Stack, stream: bool) -> None:
    status, _, _ = await stack.chat(stream=stream)
    entry, record = await only(stack)
    assert status == 200
    assert (entry["kind"], entry["estimated"], entry["status"]) == ("charge", False, 200)
    assert booked(entry) == billed(record)
    assert entry["streamed"] is stream


async def test_cached_and_reasoning_tokens_are_booked_apart(stack: Stack) -> None:
    url = stack.chat_url.replace("/gpt-4o/", "/o4-mini/")
    for _ in range(2):
        await stack.chat("many words " * 1000, url=url, max_completion_tokens=90)
    first, second = await stack.entries()
    records = await stack.requests()
    assert [booked(first), booked(second)] == [billed(record) for record in records]
    cached = records[1]["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert second["usage"]["cached_input"] == cached > 0
    assert second["usage"]["reasoning"] == 64
    assert float(second["cost_usd"]) < float(first["cost_usd"])


async def test_a_client_that_hangs_up_is_charged_the_usage_of_the_drained_stream(stack: Stack) -> None:
    await stack.fault(kind="stall", after_chunks=6)
    await _hang_up(stack)
    background = (await stack.gateway()).background
    await eventually(lambda: background.is_busy)
    await stack.release_faults()
    entry, record = await only(stack)
    assert record["outcome"] == "stall"
    assert booked(entry) == billed(record)
    assert (entry["estimated"], entry["error_code"]) == (False, "client_disconnected")


async def test_a_tenant_may_have_the_stream_cut_when_a_client_hangs_up(stack: Stack) -> None:
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"on_disconnect": "cut"})
    await stack.fault(kind="stall", after_chunks=6)
    await _hang_up(stack)
    await eventually(lambda: stack.simulator.records[0].outcome == "client_disconnected")
    entry, record = await only(stack)
    assert (entry["estimated"], entry["error_code"]) == (True, "client_disconnected")
    assert booked(entry) == billed(record) == (INPUT, 4)


@pytest.mark.parametrize("stack_settings", [{"DRAIN_TIMEOUT_SECONDS": "0.05"}], indirect=True)
async def test_draining_ends_when_its_time_is_over(stack: Stack) -> None:
    await stack.fault(kind="stall", after_chunks=6)
    await _hang_up(stack)
    await eventually(lambda: stack.simulator.records[0].outcome == "client_disconnected")
    entry, _ = await only(stack)
    assert (entry["estimated"], booked(entry)) == (True, (INPUT, 4))


@pytest.mark.parametrize("stack_settings", [{"MAX_DRAINS": "1"}], indirect=True)
async def test_a_limited_number_of_streams_is_drained_at_once(stack: Stack) -> None:
    await stack.fault(kind="stall", after_chunks=6, count=2)
    background = (await stack.gateway()).background
    await _hang_up(stack)
    await eventually(lambda: background.is_busy)
    await _hang_up(stack)
    await eventually(lambda: stack.simulator.records[1].outcome == "client_disconnected")
    await stack.release_faults()
    await stack.settled()
    cut, drained = await stack.entries()
    assert (cut["estimated"], booked(cut)) == (True, (INPUT, 4))
    assert (drained["estimated"], booked(drained)) == (False, billed((await stack.requests())[0]))
    assert {cut["error_code"], drained["error_code"]} == {"client_disconnected"}


async def test_a_stream_that_the_backend_breaks_is_charged_for_input_and_delivered_text(stack: Stack) -> None:
    await stack.fault(kind="break", after_chunks=6)
    status, _, body = await stack.chat(stream=True)
    entry, record = await only(stack)
    assert status == 200
    assert b'"code":"backend_error"' in body
    assert b"[DONE]" not in body
    assert (entry["estimated"], entry["error_code"]) == (True, "backend_error")
    assert booked(entry) == billed(record)


async def test_a_filtered_prompt_is_charged_for_its_input(stack: Stack) -> None:
    status, _, body = await stack.chat("[filter-prompt]")
    entry, record = await only(stack)
    assert status == 400
    assert body["error"]["innererror"]["code"] == "ResponsibleAIPolicyViolation"
    assert (entry["estimated"], entry["error_code"], entry["content_filter"]) == (
        True,
        "content_filter",
        "hate:filtered,hate:high",
    )
    assert booked(entry) == billed(record)
    assert (await stack.usage())["content_filter_flags"] == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_filtered_completion_is_charged_the_usage_of_the_backend(stack: Stack, stream: bool) -> None:
    await stack.chat("[filter-completion]", stream=stream)
    entry, record = await only(stack)
    assert booked(entry) == billed(record)
    assert (entry["estimated"], entry["content_filter"]) == (False, "violence:filtered,violence:medium")


@pytest.mark.parametrize(
    ("upstream", "answered", "code"),
    [
        (400, 400, None),
        (401, 502, "backend_error"),
        (404, 404, None),
        (408, 504, "backend_timeout"),
        (422, 422, None),
        (429, 503, "no_backend_available"),
        (500, 502, "backend_error"),
        (503, 503, "no_backend_available"),
    ],
)
async def test_a_refusal_of_the_backend_costs_nothing(
    stack: Stack, upstream: int, answered: int, code: str | None
) -> None:
    await stack.fault(kind="status", status=upstream, headers={"retry-after": "7"})
    status, headers, body = await stack.chat()
    entry, _ = await only(stack)
    assert status == answered
    assert body["error"]["code"] == (code or str(upstream))
    assert (entry["kind"], entry["tokens"], entry["error_code"]) == ("void", 0, f"upstream_{upstream}")
    assert (await stack.usage())["tokens_reserved"] == 0
    if answered == 503:
        assert (headers["retry-after"], headers["retry-after-ms"]) == ("7", "7000")


async def test_a_refused_connection_costs_nothing(stack: Stack) -> None:
    nobody = {"endpoint": f"http://127.0.0.1:{free_port()}", "upstream_deployment": "gpt-4o", "model": "gpt-4o"}
    await stack.manage("PUT", "/manage/backends/se-gpt-4o", {**nobody, "region": "eastus", "auth": "api_key"})
    status, headers, body = await stack.chat()
    (entry,) = await stack.entries()
    assert (status, body["error"]["code"]) == (503, "no_backend_available")
    assert headers["retry-after"] == "1"
    assert (entry["kind"], entry["error_code"]) == ("void", "no_backend_available")


async def test_a_connection_cut_after_the_request_was_sent_is_charged_for_the_input(stack: Stack) -> None:
    await stack.fault(kind="refuse")
    status, _, body = await stack.chat()
    entry, _ = await only(stack)
    assert (status, body["error"]["code"]) == (502, "backend_error")
    assert (booked(entry), entry["estimated"]) == ((INPUT, 0), True)


@pytest.mark.parametrize("stack_settings", [{"BACKEND_HEAD_TIMEOUT_SECONDS": "0.3"}], indirect=True)
async def test_a_request_that_is_never_answered_is_charged_for_its_input(stack: Stack) -> None:
    await stack.fault(kind="hang")
    status, _, body = await stack.chat()
    await stack.settled()
    (entry,) = await stack.entries()
    assert (status, body["error"]["code"]) == (504, "backend_timeout")
    assert "head timeout of 0.3 s" in body["error"]["message"]
    assert (booked(entry), entry["error_code"]) == ((INPUT, 0), "backend_timeout")


@pytest.mark.parametrize("stack_settings", [{"BACKEND_IDLE_TIMEOUT_SECONDS": "0.3"}], indirect=True)
async def test_a_stream_that_falls_silent_is_charged_for_the_delivered_text(stack: Stack) -> None:
    await stack.fault(kind="stall", after_chunks=6)
    _, _, body = await stack.chat(stream=True)
    await stack.settled()
    (entry,) = await stack.entries()
    assert b'"code":"backend_timeout"' in body
    assert b"idle timeout of 0.3 s" in body
    assert (booked(entry), entry["estimated"]) == ((INPUT, 4), True)


@pytest.mark.parametrize("stack_settings", [{"BACKEND_TOTAL_TIMEOUT_SECONDS": "0.000001"}], indirect=True)
async def test_an_answer_that_exceeds_its_total_timeout_is_charged_for_its_input(stack: Stack) -> None:
    await stack.fault(kind="stall")
    status, _, body = await stack.chat()
    await stack.settled()
    (entry,) = await stack.entries()
    assert (status, body["error"]["code"]) == (504, "backend_timeout")
    assert "total timeout of 1e-06 s" in body["error"]["message"]
    assert (booked(entry), entry["error_code"]) == ((INPUT, 0), "backend_timeout")


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_without_usage_is_counted_by_the_tokenizer(stack: Stack, stream: bool) -> None:
    await stack.fault(kind="no_usage")
    status, _, _ = await stack.chat(stream=stream)
    entry, record = await only(stack)
    assert status == 200
    assert (booked(entry), entry["estimated"]) == (billed(record), True)


async def test_an_answer_that_is_not_json_is_a_backend_error_and_charged_for_its_input(stack: Stack) -> None:
    await stack.fault(kind="malformed")
    status, _, body = await stack.chat()
    entry, _ = await only(stack)
    assert (status, body["error"]["code"]) == (502, "backend_error")
    assert booked(entry) == (INPUT, 0)


async def test_a_malformed_event_passes_and_the_usage_of_the_backend_is_charged(stack: Stack) -> None:
    await stack.fault(kind="malformed")
    _, _, body = await stack.chat(stream=True)
    entry, record = await only(stack)
    assert b"{not json" in body
    assert booked(entry) == billed(record)


@pytest.mark.parametrize("stack_settings", [{"BACKEND_IDLE_TIMEOUT_SECONDS": "0.3"}], indirect=True)
async def test_a_buffered_answer_that_falls_silent_is_charged_for_its_input(stack: Stack) -> None:
    await stack.fault(kind="stall")
    status, _, body = await stack.chat()
    (entry,) = await stack.entries()
    assert (status, body["error"]["code"], booked(entry)) == (504, "backend_timeout", (INPUT, 0))


async def test_a_stream_that_ends_without_done_is_charged_for_the_delivered_text(stack: Stack) -> None:
    await stack.fault(kind="end", after_chunks=6)
    _, _, body = await stack.chat(stream=True)
    entry, record = await only(stack)
    assert b"ended the stream early" in body
    assert (booked(entry), entry["estimated"]) == (billed(record), True)


async def test_a_long_stream_without_usage_is_counted_in_bounded_memory(stack: Stack) -> None:
    await stack.fault(kind="no_usage")
    _, _, body = await stack.chat(stream=True, n=25)
    entry, record = await only(stack)
    assert len(body) > 262_144
    input_tokens, output_tokens = billed(record)
    assert booked(entry)[0] == input_tokens
    assert output_tokens <= booked(entry)[1] <= output_tokens + 50


async def test_a_stream_that_breaks_while_it_is_drained_is_estimated(stack: Stack) -> None:
    await stack.fault(kind="stall", after_chunks=6)
    await _hang_up(stack)
    background = (await stack.gateway()).background
    await eventually(lambda: background.is_busy)
    for transport in stack.simulator.transports:
        transport.abort()
    entry, _ = await only(stack)
    assert (entry["estimated"], booked(entry)) == (True, (INPUT, 4))


@pytest.mark.parametrize("stack_settings", [{"QUEUE_TIMEOUT_SECONDS": "0"}], indirect=True)
async def test_a_refusal_without_retry_after_is_to_be_retried_after_a_second(stack: Stack) -> None:
    await stack.fault(kind="status", status=429)
    _, headers, _ = await stack.chat()
    assert headers["retry-after"] == "1"


async def test_a_deployment_whose_backends_are_gone_is_unavailable(stack: Stack) -> None:
    catalog = (await stack.gateway()).routing.catalog
    before = await catalog.deployment("gpt-4o")
    await catalog._store.put_deployment(replace(before, backends=("gone",)), told(before=before))
    catalog._catalog.invalidate()
    status, _, body = await stack.chat()
    assert (status, body["error"]["code"]) == (503, "no_backend_available")


async def test_a_request_cancelled_while_the_backend_works_is_charged_for_its_input(stack: Stack) -> None:
    gateway = await stack.gateway()
    await stack.fault(kind="hang")
    caller = await gateway.tenancy.authenticate.identify(stack.key, str)
    assert isinstance(caller, TenantPrincipal)
    body = b'{"messages": [{"role": "user", "content": "Hello!"}]}'
    call = IncomingCall(
        request_id="r",
        trace=gateway.inference.traces.begin("r", "chat/completions", None, b""),
        body=body,
        content_type="application/json",
        deployment="gpt-4o",
        base="/openai",
        api_version=API_VERSION,
        headers={},
        user="",
        wait_for_disconnect=asyncio.Event().wait,
    )
    serving = asyncio.create_task(gateway.inference.serve(caller, call, gateway.inference.formats["chat/completions"]))
    await eventually(lambda: bool(stack.simulator.records))
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving
    entry, _ = await only(stack)
    assert (booked(entry), entry["error_code"]) == ((INPUT, 0), "cancelled")


async def test_a_buffered_answer_that_breaks_is_charged_for_its_input(stack: Stack) -> None:
    await stack.fault(kind="break")
    status, _, _ = await stack.chat()
    entry, _ = await only(stack)
    assert (status, booked(entry)) == (502, (INPUT, 0))


async def _hang_up(stack: Stack) -> None:
    """Read a stream until it stalls, and drop the connection."""
    body = {"messages": [{"role": "user", "content": "Hello!"}], "stream": True}
    async with stack.session.post(stack.chat_url, json=body, headers={"api-key": stack.key}) as response:
        text = b""
        while text.count(b"data: ") < 6:
            text += await response.content.readany()
        assert response.connection is not None
        transport = response.connection.transport
        assert transport is not None
        transport.abort()
