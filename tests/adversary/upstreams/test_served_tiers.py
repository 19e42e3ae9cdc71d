"""Upstream serves another tier than was asked for, does not say which, or says one that nobody knows."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.entries import EntryKind, ExpiryPolicy
from tests.adversary.prices import FLEX, PRIORITY, STANDARD, cost, insert
from tests.tools.stack import Stack, eventually

FIELDS: tuple[dict[str, Any], ...] = ({}, {"stream": True}, {"stream": True, "stream_options": {"include_usage": True}})


async def last_entry(stack: Stack) -> dict[str, Any]:
    await stack.settled()
    return (await stack.entries())[-1]


async def findings(stack: Stack) -> list[Any]:
    gateway = await stack.gateway()
    period = str(BillingPeriod.containing(gateway.clock.now()))
    return [each async for _, found in gateway.ledger.verify(period, stack.tenant) for each in found]


async def tier_of(stack: Stack, entry: dict[str, Any]) -> set[str | None]:
    """Return the tiers of the price rows that an entry names."""
    rows = {row["price_id"]: row for row in (await stack.manage("GET", "/manage/prices"))["data"]}
    return {rows[price_id]["service_tier"] for price_id in entry["price_version"].split(".")}


async def with_tiers(stack: Stack) -> None:
    await insert(stack, PRIORITY, service_tier="priority")
    await insert(stack, FLEX, service_tier="flex")


@pytest.mark.parametrize("fields", FIELDS)
@pytest.mark.parametrize(
    ("stated", "prices", "priced_as", "flags"),
    [
        ("default", STANDARD, None, ""),
        ("", STANDARD, None, ""),
        ("auto", STANDARD, None, ""),
        ("standard", STANDARD, None, ""),
        ("priority", PRIORITY, "priority", ""),
        ("Priority ", PRIORITY, "priority", ""),
        ("flex", FLEX, "flex", ""),
        ("turbo", PRIORITY, "priority", "unpriced_tier"),
    ],
)
async def test_the_stated_tier_decides_the_price(
    stack: Stack, fields: dict[str, Any], stated: str, prices: dict[str, str], priced_as: str | None, flags: str
) -> None:
    await with_tiers(stack)
    stack.simulator.served_tier = stated
    assert (await stack.chat(**fields))[0] == 200
    entry = await last_entry(stack)
    assert (entry["price_flags"], await tier_of(stack, entry)) == (flags, {priced_as})
    assert Decimal(entry["cost_usd"]) == cost(entry["usage"], prices)
    assert await findings(stack) == []


@pytest.mark.parametrize(
    ("named", "stated", "prices", "flags"),
    [
        ("priority", "default", STANDARD, ""),
        ("priority", "", PRIORITY, "unstated_tier"),
        ("flex", "AUTO", STANDARD, "unstated_tier"),
        ("default", "", STANDARD, ""),
        ("default", "priority", PRIORITY, ""),
    ],
)
async def test_a_named_tier_that_the_answer_does_not_state_is_not_cheaper(
    stack: Stack, named: str, stated: str, prices: dict[str, str], flags: str
) -> None:
    await with_tiers(stack)
    stack.simulator.served_tier = stated
    assert (await stack.chat(service_tier=named))[0] == 200
    entry = await last_entry(stack)
    assert (Decimal(entry["cost_usd"]), entry["price_flags"]) == (cost(entry["usage"], prices), flags)
    assert await findings(stack) == []


async def test_a_tier_without_any_price_costs_the_standard_one_and_is_flagged(stack: Stack) -> None:
    stack.simulator.served_tier = "priority"
    await stack.chat()
    entry = await last_entry(stack)
    assert (Decimal(entry["cost_usd"]), entry["price_flags"]) == (cost(entry["usage"], STANDARD), "unpriced_tier")


async def test_a_stream_that_breaks_is_charged_at_the_tier_that_it_has_stated(stack: Stack) -> None:
    await with_tiers(stack)
    stack.simulator.served_tier = "priority"
    await stack.fault(kind="break", after_chunks=5)
    await stack.chat(stream=True)
    entry = await last_entry(stack)
    assert (entry["estimated"], Decimal(entry["cost_usd"])) == (True, cost(entry["usage"], PRIORITY))


async def test_a_usage_beyond_every_priced_band_costs_the_dearest_price_and_is_flagged(stack: Stack) -> None:
    await insert(stack, PRIORITY, service_tier="priority", input_tokens_up_to=5)
    stack.simulator.served_tier = "priority"
    await stack.chat("More than five tokens of input, certainly.")
    entry = await last_entry(stack)
    assert (Decimal(entry["cost_usd"]), entry["price_flags"]) == (cost(entry["usage"], STANDARD), "unpriced_band")
    assert await findings(stack) == []


async def background(stack: Stack, **fields: Any) -> None:
    body = {"input": "Hello!", "background": True, **fields}
    assert (await stack.infer("responses", "gpt-4o", body, dated=False))[0] == 200


async def settle_background(stack: Stack) -> None:
    settle = (await stack.gateway()).inference.settle_background
    assert [await settle(), await settle()] == [0, 1]


@pytest.mark.parametrize(("stated", "prices"), [("default", STANDARD), ("priority", PRIORITY), ("turbo", PRIORITY)])
async def test_a_background_response_costs_the_stated_tier_at_the_prices_of_its_reservation(
    stack: Stack, stated: str, prices: dict[str, str]
) -> None:
    await with_tiers(stack)
    stack.simulator.served_tier = stated
    await background(stack)
    tiers: list[tuple[dict[str, str], dict[str, Any]]] = [(STANDARD, {}), (PRIORITY, {"service_tier": "priority"})]
    for usd, fields in tiers:
        dearer = {meter: str(Decimal(price) * 3) for meter, price in usd.items()}
        await insert(stack, dearer, effective_from="2099-01-01T00:00:00Z", **fields)
        now = (await stack.gateway()).clock.now().isoformat()
        await insert(stack, dearer, effective_from=now, **fields)
    await settle_background(stack)
    entry = await last_entry(stack)
    assert Decimal(entry["cost_usd"]) == cost(entry["usage"], prices)
    assert (entry["sku"], entry["price_flags"]) == ("Standard", "unpriced_tier" if stated == "turbo" else "")
    assert await findings(stack) == []


@pytest.mark.parametrize("policy", ExpiryPolicy)
@pytest.mark.parametrize("stated", ["default", "priority"])
async def test_what_expired_in_one_tier_and_is_settled_late_in_another_adds_up(
    stack: Stack, stated: str, policy: ExpiryPolicy
) -> None:
    await with_tiers(stack)
    stack.simulator.served_tier = stated
    await background(stack)
    gateway = await stack.gateway()
    ((_, held),) = [each async for each in gateway.inference.settle_background._directory.deferred()]
    expire: Any = gateway.ledger.expire_reservations
    await gateway.ledger.books.expire(held, await expire._outcome(held, policy))
    await settle_background(stack)
    await stack.settled()
    expired, late = await stack.entries()
    assert (expired["kind"], late["kind"]) == (EntryKind.EXPIRE, EntryKind.LATE)
    usage = {meter: expired["usage"][meter] + late["usage"][meter] for meter in ("input", "cached_input", "output")}
    prices = PRIORITY if stated == "priority" else STANDARD
    assert Decimal(expired["cost_usd"]) + Decimal(late["cost_usd"]) == cost(usage, prices)
    assert bool(late["corrected"]) == (stated == "default" and policy is not ExpiryPolicy.NONE)
    assert await findings(stack) == []


async def test_a_caller_who_leaves_is_charged_at_the_tier_that_serves(stack: Stack) -> None:
    await with_tiers(stack)
    stack.simulator.served_tier = "priority"
    await stack.fault(kind="stall", after_chunks=5)
    body = {"messages": [{"role": "user", "content": "Hi"}], "stream": True}
    async with stack.session.post(stack.chat_url, json=body, headers={"api-key": stack.key}) as response:
        await response.content.readany()
        response.close()
    await eventually(lambda: bool(stack.simulator.records))
    await stack.release_faults()
    await stack.settled()
    entry = await last_entry(stack)
    assert Decimal(entry["cost_usd"]) == cost(entry["usage"], PRIORITY)


async def test_a_background_response_keeps_its_price_when_its_backend_gets_another_model_version(stack: Stack) -> None:
    for version in ("1", "2"):
        backend = {"endpoint": f"{stack.simulator_url}/eastus", "upstream_deployment": "gpt-4o", "model": "m"}
        await stack.manage(
            "PUT",
            "/manage/backends/se-gpt-4o",
            {**backend, "region": "eastus", "auth": "api_key", "model_version": version},
        )
        if version == "1":
            await insert(stack, PRIORITY, model="m", model_version="1")
            await background(stack)
    await settle_background(stack)
    entry = await last_entry(stack)
    assert Decimal(entry["cost_usd"]) == cost(entry["usage"], PRIORITY)
