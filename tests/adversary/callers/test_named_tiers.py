"""A caller names a service tier, sends audio or fills a long context: nothing of it is served without its price."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import aiohttp
import pytest

from tests.adversary.prices import FLEX, PRIORITY, STANDARD, cost, held, insert
from tests.tools.sounds import wav
from tests.tools.stack import Stack

BODIES: dict[str, dict[str, Any]] = {
    "chat/completions": {"messages": [{"role": "user", "content": "Hi"}]},
    "completions": {"prompt": "Hi"},
    "responses": {"input": "Hi"},
}
AUDIO = {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}
AUDIO_URL = {"type": "audio_url", "audio_url": {"url": "https://sound.invalid/a.wav"}}


async def last_entry(stack: Stack) -> dict[str, Any]:
    await stack.settled()
    return (await stack.entries())[-1]


@pytest.mark.parametrize("tier", ["priority", " Priority ", "turbo"])
@pytest.mark.parametrize("operation", BODIES)
async def test_a_named_tier_without_a_price_is_refused(stack: Stack, operation: str, tier: str) -> None:
    body = BODIES[operation] | {"service_tier": tier}
    status, _, answer = await stack.infer(operation, "gpt-4o", body, dated=False)
    assert (status, b'"unpriced_model"' in answer) == (424, True)
    assert f"input and output of model 'gpt-4o' (Standard, swedencentral, service tier '{tier.strip().lower()}')" in (
        answer.decode()
    )
    assert await stack.requests() == []


@pytest.mark.parametrize("tier", [5, ["priority"], {"a": 1}, True, "x" * 33])
@pytest.mark.parametrize("operation", BODIES)
async def test_a_tier_that_is_no_name_is_refused(stack: Stack, operation: str, tier: object) -> None:
    body = BODIES[operation] | {"service_tier": tier}
    status, _, answer = await stack.infer(operation, "gpt-4o", body, dated=False)
    assert (status, b'"param":"service_tier"' in answer) == (400, True)


@pytest.mark.parametrize(
    ("named", "prices"),
    [
        ({}, PRIORITY),
        ({"service_tier": None}, PRIORITY),
        ({"service_tier": "auto"}, PRIORITY),
        ({"service_tier": "default"}, STANDARD),
        ({"service_tier": "Standard"}, STANDARD),
        ({"service_tier": "flex"}, STANDARD),
        ({"service_tier": "priority"}, PRIORITY),
    ],
)
async def test_the_hold_takes_the_dearest_tier_that_upstream_may_choose(
    stack: Stack, named: dict[str, Any], prices: dict[str, str]
) -> None:
    await insert(stack, PRIORITY, service_tier="priority")
    await insert(stack, FLEX, service_tier="Flex")
    status, *_ = await stack.chat(max_tokens=100, **named)
    entry = await last_entry(stack)
    assert status == 200
    assert Decimal(entry["reserved_usd"]) == held(entry, prices)


@pytest.mark.parametrize(
    ("fields", "missing"),
    [
        ({"messages": [{"role": "user", "content": [AUDIO]}]}, ["audio_input"]),
        ({"messages": [{"role": "user", "content": [AUDIO_URL]}]}, ["audio_input"]),
        ({"modalities": ["text", "audio"]}, ["audio_output"]),
        ({"audio": {"voice": "alloy", "format": "wav"}}, ["audio_output"]),
        (
            {"messages": [{"role": "user", "content": [AUDIO]}], "modalities": ["text", "audio"]},
            ["audio_input", "audio_output"],
        ),
    ],
)  # fmt: skip
async def test_audio_without_its_price_is_refused(stack: Stack, fields: dict[str, Any], missing: list[str]) -> None:
    status, _, answer = await stack.chat(**fields)
    assert (status, answer["error"]["code"]) == (424, "unpriced_model")
    assert f"No price is known for {' and '.join(missing)} of model" in answer["error"]["message"]
    assert await stack.requests() == []
    await insert(stack, dict.fromkeys(missing, "40.00"))
    assert (await stack.chat(**fields))[0] != 424


async def test_a_named_tier_needs_its_own_price_of_audio(stack: Stack) -> None:
    await insert(stack, {"audio_output": "40.00"})
    await insert(stack, PRIORITY, service_tier="priority")
    fields: dict[str, Any] = {"modalities": ["text", "audio"], "service_tier": "priority"}
    assert (await stack.chat(**fields))[0] == 424
    await insert(stack, {"audio_output": "80.00"}, service_tier="priority")
    assert (await stack.chat(**fields))[0] == 200


async def test_audio_in_a_response_needs_its_price(stack: Stack) -> None:
    body = {"input": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "AAAA"}}]}]}
    assert (await stack.infer("responses", "gpt-4o", body, dated=False))[0] == 424


async def test_a_transcript_priced_by_token_needs_the_price_of_audio(stack: Stack) -> None:
    definition = {"endpoint": f"{stack.simulator_url}/eastus", "upstream_deployment": "gpt-4o-transcribe"}
    backend = {**definition, "model": "gpt-4o-new", "region": "eastus", "auth": "api_key"}
    await stack.manage("PUT", "/manage/backends/se-gpt-4o-transcribe", backend)
    for meter in ("input", "output"):
        row = {"model": "gpt-4o-new", "meter": meter, "usd_per_million": "1", "effective_from": "2024-01-01T00:00:00Z"}
        await stack.manage("POST", "/manage/prices", row)
    form = aiohttp.FormData()
    form.add_field("file", wav(1), filename="a.wav")
    status, _, answer = await stack.infer("audio/transcriptions", "gpt-4o-transcribe", form=form)
    assert (status, b"audio_seconds or audio_input of model" in answer) == (424, True)


async def test_a_long_request_costs_the_long_price_for_all_of_its_tokens(stack: Stack) -> None:
    long = {"input": "5.00", "output": "15.00"}
    await insert(stack, long, input_tokens_above=100)
    for words, prices in ((10, STANDARD), (200, long)):
        status, *_ = await stack.chat("word " * words, max_tokens=100)
        entry = await last_entry(stack)
        assert status == 200
        assert Decimal(entry["reserved_usd"]) == held(entry, prices)
        assert Decimal(entry["cost_usd"]) == cost(entry["usage"], prices)


async def test_a_hold_that_may_reach_the_long_band_takes_its_price(stack: Stack) -> None:
    status, *_ = await stack.chat("word " * 10, max_tokens=100)
    entry = await last_entry(stack)
    used = entry["usage"]["input_tokens"]
    assert entry["reserved_tokens"] > used + 100
    long = {"input": "5.00", "output": "15.00"}
    await insert(stack, long, input_tokens_above=used)
    status, *_ = await stack.chat("word " * 10, max_tokens=100)
    entry = await last_entry(stack)
    assert status == 200
    assert Decimal(entry["reserved_usd"]) == held(entry, long)
    assert Decimal(entry["cost_usd"]) == cost(entry["usage"], STANDARD)


async def test_a_request_that_may_be_longer_than_any_priced_band_is_refused(stack: Stack) -> None:
    for tier in ("priority", "flex"):
        await insert(stack, PRIORITY, service_tier=tier, input_tokens_up_to=100)
    assert (await stack.chat("word " * 10, service_tier="priority"))[0] == 200
    status, _, answer = await stack.chat("word " * 200, service_tier="priority")
    assert (status, answer["error"]["code"]) == (424, "unpriced_model")
    assert "service tier 'priority', more than 100 input tokens" in answer["error"]["message"]
    assert (await stack.chat("word " * 200))[0] == 200
