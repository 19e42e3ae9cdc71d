"""Defaults of a deployment apply to the fields that callers leave out."""

from __future__ import annotations

from typing import Any

import pytest

from tests.tools.stack import Stack


async def sent(stack: Stack, deployment: str, settings: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Send a request to a deployment with these settings. Returns the body that the simulator received."""
    await stack.manage("PUT", f"/manage/deployments/{deployment}", {"backends": [f"se-{deployment}"], **settings})
    url = stack.chat_url.replace("/gpt-4o/", f"/{deployment}/")
    status, _, answer = await stack.chat("Hi", url=url, **fields)
    assert status == 200, answer
    record, entry = (await stack.requests())[-1], (await stack.entries())[-1]
    assert entry["tokens"] == record["usage"]["total_tokens"] <= entry["reserved_tokens"]
    body: dict[str, Any] = record["body"]
    return body


SETTINGS = {"temperature": 0.2, "top_p": 0.5, "max_output_tokens": 12}


async def test_defaults_apply_to_fields_that_the_caller_left_out(stack: Stack) -> None:
    body = await sent(stack, "gpt-4o", SETTINGS)
    assert (body["temperature"], body["top_p"], body["max_tokens"]) == (0.2, 0.5, 12)


async def test_the_fields_of_a_caller_are_kept(stack: Stack) -> None:
    body = await sent(stack, "gpt-4o", SETTINGS, temperature=0, top_p=1, max_completion_tokens=7)
    assert (body["temperature"], body["top_p"], body["max_completion_tokens"]) == (0, 1, 7)
    assert "max_tokens" not in body


async def test_a_reasoning_model_gets_only_the_defaults_it_accepts(stack: Stack) -> None:
    body = await sent(stack, "o4-mini", SETTINGS)
    assert set(body) == {"messages", "max_completion_tokens"}


async def test_one_default_may_be_set_alone(stack: Stack) -> None:
    body = await sent(stack, "gpt-4o", {"temperature": 0.0})
    assert set(body) == {"messages", "temperature"}


async def test_a_system_prompt_stands_before_what_the_caller_sends(stack: Stack) -> None:
    body = await sent(stack, "gpt-4o", {"system_prompt": "Be kind."}, user="ann")
    assert body["messages"] == [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}]


@pytest.mark.parametrize(("fields", "expected"), [({}, {0.2}), ({"temperature": 1}, {1})])
async def test_legacy_completions_get_the_same_sampling_defaults(
    stack: Stack, fields: dict[str, Any], expected: set[float]
) -> None:
    model = "gpt-35-turbo-instruct"
    await stack.manage("PUT", f"/manage/deployments/{model}", {"backends": [f"se-{model}"], "temperature": 0.2})
    await stack.infer("completions", model, {"prompt": "Once", **fields})
    assert {record["body"]["temperature"] for record in await stack.requests()} == expected


@pytest.mark.parametrize(
    ("settings", "param"),
    [({"temperature": 3}, "temperature"), ({"top_p": 0}, "top_p"), ({"system_prompt": 1}, "system_prompt")],
)
async def test_defaults_that_no_model_accepts_are_refused(stack: Stack, settings: dict[str, Any], param: str) -> None:
    body = {"backends": ["se-gpt-4o"], **settings}
    answer = await stack.manage("PUT", "/manage/deployments/gpt-4o", body, status=400)
    assert answer["error"]["param"] == param
