"""Findings of the content filter are passed on, counted, named or refused, by the tenant's policy."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.tools.stack import Stack

PROMPT = "[annotate-prompt]"
COMPLETION = "[annotate-completion]"
PROMPT_FINDINGS = "jailbreak:detected,violence:medium"
COMPLETION_FINDINGS = "protected_material_text:detected,self_harm:low"


async def set_policy(stack: Stack, policy: str, **fields: Any) -> None:
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"content_filter_policy": policy, **fields})


async def only(stack: Stack) -> tuple[dict[str, Any], dict[str, Any]]:
    await stack.settled()
    (entry,), (record,) = await stack.entries(), await stack.requests()
    return entry, record


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("text", "findings"),
    [
        (PROMPT, PROMPT_FINDINGS),
        (COMPLETION, COMPLETION_FINDINGS),
        (f"{COMPLETION} [asynchronous-filter]", COMPLETION_FINDINGS),
        ("Hello!", ""),
    ],
)
async def test_findings_are_passed_on_and_booked(stack: Stack, text: str, findings: str, stream: bool) -> None:
    status, headers, body = await stack.chat(text, stream=stream)
    entry, record = await only(stack)
    assert (status, entry["status"], entry["content_filter"]) == (200, 200, findings)
    assert entry["tokens"] == record["usage"]["total_tokens"]
    assert "x-gateway-content-filter" not in headers
    assert b": content-filter" not in (body if stream else b"")


async def test_findings_are_counted_by_category_and_severity(stack: Stack) -> None:
    for text in (PROMPT, PROMPT, COMPLETION, "Hello!", "[filter-prompt]"):
        await stack.chat(text)
    expected = {
        "hate": {"filtered": 1, "high": 1},
        "jailbreak": {"detected": 2},
        "protected_material_text": {"detected": 1},
        "self_harm": {"low": 1},
        "violence": {"medium": 2},
    }
    usage = await stack.usage()
    assert (usage["content_filter"], usage["content_filter_flags"]) == (expected, 4)
    await (await stack.gateway()).ledger.roll_up_usage()
    await stack.chat(COMPLETION)
    await (await stack.gateway()).ledger.roll_up_usage()
    usage = await stack.usage()
    assert usage["content_filter"]["self_harm"] == {"low": 2}
    assert usage["deployments"][0]["content_filter"] == usage["content_filter"]


async def test_a_tenant_may_have_findings_named_in_a_header(stack: Stack) -> None:
    await set_policy(stack, "annotate")
    _, headers, _ = await stack.chat(PROMPT)
    assert headers["x-gateway-content-filter"] == PROMPT_FINDINGS
    _, headers, _ = await stack.chat("Hello!")
    assert "x-gateway-content-filter" not in headers
    _, _, body = await stack.chat(COMPLETION, stream=True)
    assert body.endswith(f": content-filter {COMPLETION_FINDINGS}\n\ndata: [DONE]\n\n".encode())


@pytest.mark.parametrize(
    ("text", "threshold", "refused"),
    [
        (PROMPT, "high", ["jailbreak"]),
        (PROMPT, "medium", ["jailbreak", "violence"]),
        (COMPLETION, "medium", ["protected_material_text"]),
        (COMPLETION, "low", ["protected_material_text", "self_harm"]),
    ],
)
async def test_a_tenant_may_have_findings_refused(stack: Stack, text: str, threshold: str, refused: list[str]) -> None:
    await set_policy(stack, "block", content_filter_threshold=threshold)
    status, _, body = await stack.chat(text)
    entry, record = await only(stack)
    error = body["error"]
    assert (status, error["code"], error["innererror"]["code"]) == (
        400,
        "content_filter",
        "ResponsibleAIPolicyViolation",
    )
    assert list(error["innererror"]["content_filter_result"]) == refused
    assert (entry["status"], entry["error_code"], entry["estimated"]) == (400, "content_filter", False)
    assert entry["tokens"] == record["usage"]["total_tokens"]


async def test_a_finding_below_the_threshold_is_served(stack: Stack) -> None:
    await set_policy(stack, "block", content_filter_threshold="high")
    for stream in (False, True):
        status, _, body = await stack.chat("Hello!", stream=stream)
        assert status == 200
        assert not stream or body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("text", [PROMPT, COMPLETION, f"{COMPLETION} [asynchronous-filter]"])
@pytest.mark.parametrize("on_disconnect", ["drain", "cut"])
async def test_a_stream_is_ended_where_a_finding_is_refused(stack: Stack, text: str, on_disconnect: str) -> None:
    events = (await stack.chat(text, stream=True))[2].count(b"data: ")
    await set_policy(stack, "block", on_disconnect=on_disconnect)
    if on_disconnect == "cut":  # the stream ended before its usage, so the delivered text is booked
        await stack.fault(kind="stall", after_chunks=events - 1)
    status, _, body = await stack.chat(text, stream=True)
    await stack.settled()
    entry, record = (await stack.entries())[-1], (await stack.requests())[-1]
    assert status == 200
    assert b'"code":"content_filter"' in body
    assert b"[DONE]" not in body
    assert body.count(b'"detected":true') == 0
    assert (entry["error_code"], entry["estimated"]) == ("content_filter", on_disconnect == "cut")
    if on_disconnect == "drain":
        assert entry["tokens"] == record["usage"]["total_tokens"]


async def test_a_refused_stream_is_booked_once_even_if_the_caller_leaves(stack: Stack) -> None:
    await set_policy(stack, "block")
    await asyncio.gather(*(stack.chat(PROMPT, stream=True) for _ in range(3)))
    await stack.settled()
    assert [entry["kind"] for entry in await stack.entries()] == ["charge"] * 3


async def test_an_unknown_policy_is_refused(stack: Stack) -> None:
    body = {"content_filter_policy": "shout"}
    answer = await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", body, status=400)
    assert answer["error"]["param"] == "content_filter_policy"
