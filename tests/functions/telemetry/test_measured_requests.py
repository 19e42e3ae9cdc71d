"""Each request is measured once, under names that callers cannot choose."""

from __future__ import annotations

import io
from typing import Any

import aiohttp
import pytest

from tests.tools.sounds import wav
from tests.tools.stack import Stack
from tests.tools.traces import Kept

GPT = "gpt-4o"
SWEDEN = ("se-gpt-4o", "swedencentral")


def total(kept: Kept, name: str) -> float:
    return sum(kept.sums[name].values())


def counted(kept: Kept, name: str) -> dict[tuple[str, ...], int]:
    """Return the number of values of each series of a distribution."""
    kept.fold()
    return {values: sum(found.counts) for values, found in kept.distributions[name].items()}


def sums(kept: Kept, name: str) -> dict[tuple[str, ...], float]:
    kept.fold()
    return kept.sums[name]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_measures_what_its_entry_has(stack: Stack, kept: Kept, stream: bool) -> None:
    await stack.chat(stream=stream)
    await stack.settled()
    (entry,) = await stack.entries()
    tenant = stack.tenant
    assert sums(kept, "gateway.requests") == {(tenant, GPT, "chat/completions", "200"): 1}
    assert sums(kept, "gateway.tokens") == {
        (tenant, GPT, "input"): entry["usage"]["input"],
        (tenant, GPT, "output"): entry["usage"]["output"],
    }
    assert sums(kept, "gateway.cost_usd")[tenant, GPT] == pytest.approx(float(entry["cost_usd"]))
    assert sums(kept, "gateway.upstream.responses") == {(*SWEDEN, GPT, "200"): 1}
    assert counted(kept, "gateway.ttfb.bucket") == {(GPT, SWEDEN[0]): 1}
    assert counted(kept, "gateway.added_latency.bucket") == {("chat/completions",): 1}
    assert counted(kept, "gen_ai.client.operation.duration") == {("chat", GPT, ""): 1}
    assert sums(kept, "gateway.refusals") == {}


async def test_a_refusal_names_its_reason(stack: Stack, kept: Kept) -> None:
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"monthly_quota_tokens": 1})
    status, _, body = await stack.chat()
    assert sums(kept, "gateway.refusals") == {(body["error"]["code"], str(status), GPT): 1}
    assert sums(kept, "gateway.requests") == {(stack.tenant, GPT, "chat/completions", str(status)): 1}


async def test_a_caller_that_is_nobody_names_no_tenant_and_no_deployment(stack: Stack, kept: Kept) -> None:
    await stack.chat(key="nobody")
    async with stack.session.get(f"{stack.url}/manage/tenants") as response:
        assert response.status == 401
    assert sums(kept, "gateway.refusals") == {("invalid_api_key", "401", ""): 2}
    assert sums(kept, "gateway.requests") == {("", "", "chat/completions", "401"): 1}


async def test_a_failover_names_the_backend_that_failed(stack: Stack, kept: Kept) -> None:
    await stack.pool("swedencentral", "germanywestcentral")
    await stack.fault(kind="status", status=500)
    status, headers, _ = await stack.chat()
    assert (status, headers["x-gateway-attempts"]) == (200, "2")
    ((backend, region, reason),) = sums(kept, "gateway.failovers")
    assert (backend, reason) == (region, "upstream_500")
    assert sorted(key[3] for key in sums(kept, "gateway.upstream.responses")) == ["200", "500"]


async def test_an_answer_that_never_begins_has_the_status_0(stack: Stack, kept: Kept) -> None:
    await stack.fault(kind="refuse")
    await stack.chat()
    assert [key[3] for key in sums(kept, "gateway.upstream.responses")] == ["0"]
    assert counted(kept, "gateway.ttfb.bucket") == {}


async def test_a_trace_of_a_failed_request_has_its_attempts(stack: Stack, kept: Kept) -> None:
    await stack.fault(kind="status", status=500)
    status, headers, _ = await stack.chat()
    request, attempt = kept.spans
    assert (request.is_server, attempt.is_server) == (True, False)
    assert (request.trace_id, attempt.trace_id) == (headers["x-gateway-request-id"],) * 2
    assert attempt.parent_id == request.span_id
    assert request.started_ns <= attempt.started_ns <= attempt.ended_ns <= request.ended_ns
    assert (request.error, attempt.error, request.sampled_percent) == ("backend_error", "upstream_500", 100)
    assert request.attributes["http.response.status_code"] == status == 502
    assert attempt.attributes["gateway.backend"] == SWEDEN[0]


@pytest.mark.parametrize("stack_settings", [{"TELEMETRY_SAMPLING_RATIO": "1"}], indirect=True)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_trace_continues_that_of_its_caller(stack: Stack, kept: Kept, stream: bool) -> None:
    trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    headers = {"traceparent": f"00-{trace}-{parent}-00", "tracestate": "vendor=1"}
    await stack.chat(stream=stream, headers=headers)
    await stack.settled()
    request, attempt = kept.spans
    assert (request.trace_id, request.parent_id, request.has_remote_parent) == (trace, parent, True)
    seen = (await stack.requests())[-1]["headers"]
    assert seen["traceparent"] == f"00-{trace}-{attempt.span_id}-01"
    assert seen["tracestate"] == "vendor=1"
    (entry,) = await stack.entries()
    assert entry["rid"].endswith(attempt.span_id)
    assert attempt.name == "chat gpt-4o"
    usage = {name: entry["usage"][name] for name in ("input", "output")}
    assert {name: attempt.attributes[f"gen_ai.usage.{name}_tokens"] for name in usage} == usage


async def test_every_attempt_of_every_operation_continues_the_trace(stack: Stack) -> None:
    form = aiohttp.FormData()
    form.add_field("file", io.BytesIO(wav(1.0)), filename="a.wav", content_type="audio/wav")
    await stack.pool("swedencentral", "germanywestcentral")
    await stack.fault(kind="status", status=500)
    found = [
        await stack.infer("chat/completions", "gpt-4o", {"messages": [{"role": "user", "content": "Hi"}]}),
        await stack.infer("embeddings", "text-embedding-3-small", {"input": "Hi"}),
        await stack.infer("responses", "gpt-4o", {"input": "Hi"}, dated=False),
        await stack.infer("audio/transcriptions", "whisper", form=form),
    ]
    assert [status for status, _, _ in found] == [200] * 4
    asked = [each["headers"]["traceparent"].split("-") for each in await stack.requests()]
    traces = [headers["x-gateway-request-id"] for _, headers, _ in found]
    assert [trace for _, trace, _, _ in asked] == [traces[0], *traces]
    assert len({span for _, _, span, _ in asked}) == 5


@pytest.mark.parametrize("stack_settings", [{"TELEMETRY_SAMPLING_RATIO": "0"}], indirect=True)
async def test_a_caller_cannot_ask_for_a_trace(stack: Stack, kept: Kept) -> None:
    await stack.chat(headers={"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"})
    assert kept.spans == []
    assert (await stack.requests())[-1]["headers"]["traceparent"].endswith("-00")


@pytest.mark.parametrize("stack_settings", [{"TELEMETRY_SLOW_SECONDS": "0.0001"}], indirect=True)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_slow_request_has_a_trace(stack: Stack, kept: Kept, stream: bool) -> None:
    await stack.chat(stream=stream)
    await stack.settled()
    assert [span.error for span in kept.spans] == ["", ""]


async def test_a_flood_of_errors_makes_a_bounded_number_of_spans(stack: Stack, kept: Kept) -> None:
    for _ in range(60):
        await stack.chat(key="nobody")
    assert 5 <= len(kept.spans) < 60
    assert total(kept, "gateway.refusals") == 60


async def test_no_span_names_a_user(stack: Stack, kept: Kept) -> None:
    await stack.fault(kind="status", status=500)
    await stack.chat(headers={"x-gateway-user": "jane.doe@example.com"})
    request = kept.spans[0]
    assert "jane" not in repr(kept.spans)
    assert len(str(request.attributes["enduser.pseudo.id"])) == 32


async def test_a_stored_response_is_measured(stack: Stack, kept: Kept) -> None:
    body: dict[str, Any] = {"model": GPT, "input": "Hello!", "max_output_tokens": 20}
    headers = {"api-key": stack.key}
    async with stack.session.post(f"{stack.url}/openai/v1/responses", json=body, headers=headers) as response:
        created = await response.json()
    async with stack.session.get(f"{stack.url}/openai/v1/responses/{created['id']}", headers=headers) as response:
        assert response.status == 200
    assert sums(kept, "gateway.requests") == {
        (stack.tenant, GPT, "responses", "200"): 1,
        (stack.tenant, "", "responses", "200"): 1,
    }
