"""The official SDK gets the same answers from the gateway and from the simulator."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest
from openai import AsyncAzureOpenAI, AsyncOpenAI, AzureOpenAI, OpenAI

from tests.tools.stack import API_VERSION, SIMULATOR_KEY, Stack

TOOLS: Any = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "The weather of a city",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "temperature 0": {"temperature": 0},
    "two choices": {"n": 2},
    "tools": {"tools": TOOLS},
    "json": {"response_format": {"type": "json_object"}},
    "capped": {"max_tokens": 7},
}
MESSAGES: Any = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello!"}]


def _comparable(completion: Any) -> dict[str, Any]:
    """Return an answer without its id and time, which differ between two answers to the same request."""
    fields: dict[str, Any] = completion.model_dump()
    return {name: value for name, value in fields.items() if name not in ("id", "created")}


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("family", ["dated", "v1"])
async def test_buffered_answers_equal_those_of_the_simulator(stack: Stack, family: str, variant: str) -> None:
    gateway, simulator = _clients(stack, family)
    async with gateway, simulator:
        wanted = await simulator.chat.completions.create(model="gpt-4o", messages=MESSAGES, **VARIANTS[variant])
        got = await gateway.chat.completions.create(model="gpt-4o", messages=MESSAGES, **VARIANTS[variant])
    assert _comparable(got) == _comparable(wanted)


@pytest.mark.parametrize("asks_for_usage", [True, False])
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("family", ["dated", "v1"])
async def test_streams_equal_those_of_the_simulator(
    stack: Stack, family: str, variant: str, asks_for_usage: bool
) -> None:
    options: dict[str, Any] = {"stream_options": {"include_usage": True}} if asks_for_usage else {}
    gateway, simulator = _clients(stack, family)
    streams = []
    async with gateway, simulator:
        for client in (simulator, gateway):
            stream = await client.chat.completions.create(
                model="gpt-4o", messages=MESSAGES, stream=True, **options, **VARIANTS[variant]
            )
            streams.append([_comparable(chunk) async for chunk in stream])
    assert streams[1] == streams[0]
    assert (streams[1][-1]["usage"] is not None) is asks_for_usage


async def test_synchronous_clients_work(stack: Stack) -> None:
    def talk() -> list[str]:
        azure = AzureOpenAI(azure_endpoint=stack.url, api_key=stack.key, api_version=API_VERSION)
        v1 = OpenAI(base_url=f"{stack.url}/openai/v1", api_key=stack.key)
        texts = []
        for client in (azure, v1):
            with client:
                answer = client.chat.completions.create(model="gpt-4o", messages=MESSAGES)
                stream = client.chat.completions.create(model="gpt-4o", messages=MESSAGES, stream=True)
                texts.append(answer.choices[0].message.content or "")
                texts.append("".join(chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices))
        return texts

    texts = await asyncio.to_thread(talk)
    assert texts[0]
    assert len(set(texts)) == 1


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"model": "no-such-deployment"}, openai.NotFoundError),
        ({"messages": [{"role": "user", "content": "[filter-prompt]"}]}, openai.BadRequestError),
        ({"messages": [{"role": "robot"}, "no message"]}, openai.BadRequestError),
        ({"max_tokens": 10**9}, openai.RateLimitError),
    ],
)
async def test_errors_raise_the_right_class_and_are_not_retried(
    stack: Stack, change: dict[str, Any], error: type[openai.APIStatusError]
) -> None:
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"monthly_quota_tokens": 10_000})
    gateway, simulator = _clients(stack, "dated")
    request: dict[str, Any] = {"model": "gpt-4o", "messages": MESSAGES, **change}
    sent: list[str] = []
    gateway._client.event_hooks["request"].append(_counting(sent))
    async with gateway, simulator:
        with pytest.raises(error):
            await gateway.chat.completions.create(**request)
    assert len(sent) == 1


async def test_a_wrong_key_is_an_authentication_error(stack: Stack) -> None:
    async with AsyncAzureOpenAI(
        azure_endpoint=stack.url, api_key="tg_acme-00000000_wrong", api_version=API_VERSION
    ) as client:
        with pytest.raises(openai.AuthenticationError):
            await client.chat.completions.create(model="gpt-4o", messages=MESSAGES)


async def test_a_busy_backend_is_an_internal_server_error_that_sdks_retry(stack: Stack) -> None:
    await stack.fault(kind="status", status=429, headers={"retry-after-ms": "10"}, count=None)
    gateway, simulator = _clients(stack, "dated")
    async with gateway, simulator:
        with pytest.raises(openai.InternalServerError) as raised:
            await gateway.with_options(max_retries=1).chat.completions.create(model="gpt-4o", messages=MESSAGES)
    assert raised.value.status_code == 503
    assert len(await stack.requests()) == 2 * (await stack.gateway()).settings.max_attempts


def _counting(sent: list[str]) -> Any:
    async def note(request: Any) -> None:
        sent.append(str(request.url))

    return note


def _clients(stack: Stack, family: str) -> tuple[Any, Any]:
    """Return two clients, of the gateway and of the simulator."""
    if family == "v1":
        return (
            AsyncOpenAI(base_url=f"{stack.url}/openai/v1", api_key=stack.key),
            AsyncOpenAI(base_url=f"{stack.simulator_url}/openai/v1", api_key=SIMULATOR_KEY),
        )
    return (
        AsyncAzureOpenAI(azure_endpoint=stack.url, api_key=stack.key, api_version=API_VERSION),
        AsyncAzureOpenAI(azure_endpoint=stack.simulator_url, api_key=SIMULATOR_KEY, api_version=API_VERSION),
    )
