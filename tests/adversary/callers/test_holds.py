"""No request holds less than it can consume, and none holds what the ledger cannot store."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tools.stack import Stack


async def test_a_request_that_could_cost_a_fortune_is_refused(stack: Stack) -> None:
    status, _, answer = await stack.chat(max_tokens=2_147_483_647, n=128)
    assert (status, answer["error"]["param"]) == (400, "max_tokens")
    assert (await stack.requests(), await stack.entries()) == ([], [])


async def test_a_model_that_costs_nothing_holds_no_more_tokens_than_the_ledger_can_add(stack: Stack) -> None:
    for meter in ("input", "output"):
        row = {"model": "free", "meter": meter, "usd_per_million": "0", "effective_from": "2024-01-01T00:00:00Z"}
        await stack.manage("POST", "/manage/prices", row)
    await stack.backend("swedencentral", "free", upstream_deployment="gpt-35-turbo-instruct", model="free")
    await stack.manage("PUT", "/manage/deployments/gpt-4o", {"backends": ["free"]})
    body = {"prompt": ["x"] * 50_000, "n": 128, "max_tokens": 2_147_483_647}
    status, _, answer = await stack.infer("completions", "gpt-4o", body)
    assert (status, b'"param":"max_tokens"' in answer) == (400, True), answer
    assert (await stack.requests(), await stack.entries()) == ([], [])


async def test_images_hold_the_tokens_of_the_backends_model(stack: Stack) -> None:
    """The deployment's name says nothing of the model, nor does the body's `model`."""
    await stack.backend("swedencentral", "large")
    await stack.backend(
        "francecentral", "mini", upstream_deployment="gpt-4o-mini", model="gpt-4o-mini", zone="eu", priority=2
    )
    await stack.manage("PUT", "/manage/deployments/gpt-4o", {"backends": ["large", "mini"]})
    await stack.fault(kind="status", status=500)
    image: Any = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,x"}}]}]
    status, _, _ = await stack.chat(messages=image, max_tokens=5, model="gpt-4o")
    await stack.settled()
    large, mini = await stack.entries()
    assert (status, large["model"], mini["model"]) == (200, "gpt-4o", "gpt-4o-mini")
    assert 1_445 <= large["reserved_tokens"] < 2_000
    assert mini["reserved_tokens"] >= 48_169


async def test_rejected_predictions_are_held_as_output(stack: Stack) -> None:
    """They are billed as output beside the cap, once for each choice."""
    predicted = "alpha beta gamma delta " * 500
    for prediction in (predicted, [{"type": "text", "text": predicted}]):
        fields: dict[str, Any] = {"prediction": {"type": "content", "content": prediction}}
        assert (await stack.chat(max_tokens=5, **fields))[0] == 200
    await stack.chat(max_tokens=5)
    *held, bare = [float(entry["reserved_usd"]) for entry in await stack.entries()]
    output_price = 10 / 1_000_000
    assert all(each - bare >= 2_000 * output_price for each in held)


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": [{"type": "function", "function": {"name": "f", "description": "word " * 1_000}}]},
        {"functions": [{"name": "f", "description": "word " * 1_000}]},
        {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "description": "word " * 1_000}}},
        {"documents": ["word " * 1_000]},
        {"messages": ["word " * 1_000]},
        {"messages": [{"role": "user", "content": {"text": "word " * 1_000}}]},
        {"messages": [{"role": "user", "content": [{"type": "video", "video": {"text": ["word " * 1_000]}}]}]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": ["word " * 1_000]}]}]},
        {"messages": [{"role": "user", "content": [["word " * 1_000]]}]},
    ],
)
async def test_text_is_held_wherever_it_stands(stack: Stack, fields: dict[str, Any]) -> None:
    await stack.chat(max_tokens=5, **fields)
    (entry,) = await stack.entries()
    assert entry["reserved_tokens"] >= 1_000


async def test_servers_that_take_best_of_in_a_chat_are_held_for_it(stack: Stack) -> None:
    await stack.chat(max_tokens=100, best_of=5)
    (entry,) = await stack.entries()
    assert entry["reserved_tokens"] >= 500


@pytest.mark.parametrize(
    "item",
    [
        {"type": "local_shell_call", "call_id": "c", "action": {"text": "x", "command": ["word " * 1_000]}},
        {"role": "user", "content": [{"type": "new_kind", "text": "x", "more": "word " * 1_000}]},
        {"type": "function_call_output", "call_id": "c", "output": {"text": "x", "result": "word " * 1_000}},
    ],
)
async def test_a_short_text_hides_nothing_beside_it(stack: Stack, item: dict[str, Any]) -> None:
    body = {"input": [item], "max_output_tokens": 20}
    status, _, answer = await stack.infer("responses", "gpt-4o", body, dated=False)
    await stack.settled()
    (entry,) = await stack.entries()
    assert status == 200, answer
    assert entry["reserved_tokens"] >= 1_000
