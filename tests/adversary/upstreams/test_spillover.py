"""Azure's own spillover: another deployment serves than the one that was judged and priced."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from shared.domain.ledger.entries import ExpiryPolicy
from tests.adversary.prices import PRIORITY, STANDARD, cost, insert
from tests.adversary.upstreams.test_served_tiers import findings, last_entry, settle_background
from tests.tools.stack import Stack, eventually

MINI = {"input": "0.15", "output": "0.60"}
DEAR = {"input": "90.00", "output": "90.00"}
SPILL = {"deployment": "gpt-4o-mini", "sku": "GlobalStandard", "model": "mini"}


async def backend(stack: Stack, name: str = "ptu", **fields: Any) -> None:
    definition = {
        "endpoint": f"{stack.simulator_url}/swedencentral", "upstream_deployment": "gpt-4o", "model": "gpt-4o",
        "sku": "ProvisionedManaged", "region": "swedencentral", "auth": "api_key",
    }  # fmt: skip
    await stack.manage("PUT", f"/manage/backends/{name}", definition | fields)


async def with_ptu(stack: Stack, spilled_to: str, **fields: Any) -> None:
    """Serve gpt-4o by a provisioned backend whose requests all spill over."""
    await backend(stack, **fields)
    await stack.manage("PUT", "/manage/deployments/gpt-4o", {"backends": ["ptu"]})
    stack.simulator.spilled["gpt-4o"] = spilled_to


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(("usd", "is_dearer"), [(MINI, False), (DEAR, True)])
async def test_price_and_entry_are_those_of_the_deployment_that_served(
    stack: Stack, stream: bool, usd: dict[str, str], is_dearer: bool
) -> None:
    await insert(stack, usd, model="mini")
    await with_ptu(stack, "gpt-4o-mini", spillover_deployment=SPILL)
    status, headers, _ = await stack.chat(max_tokens=100, stream=stream)
    entry = await last_entry(stack)
    assert (status, headers["x-ms-spillover-from-deployment"]) == (200, "gpt-4o")
    assert Decimal(entry["cost_usd"]) == cost(entry["usage"], usd)
    facts = {name: entry[name] for name in ("backend", "model", "sku", "region", "processed_in", "spilled_to")}
    assert facts == {
        "backend": "ptu", "model": "mini", "sku": "GlobalStandard", "region": "swedencentral",
        "processed_in": "global", "spilled_to": "gpt-4o-mini",
    }  # fmt: skip
    assert entry["price_flags"] == ""
    dearer = DEAR if is_dearer else STANDARD
    output, tokens = 100, entry["reserved_tokens"]
    assert Decimal(entry["reserved_usd"]) * 10**6 == (
        Decimal(dearer["input"]) * (tokens - output) + Decimal(dearer["output"]) * output
    )
    assert await findings(stack) == []


async def test_an_answer_that_did_not_spill_is_the_backends(stack: Stack) -> None:
    await insert(stack, DEAR, model="mini")
    await with_ptu(stack, "", spillover_deployment=SPILL)
    stack.simulator.spilled.clear()
    await stack.chat()
    entry = await last_entry(stack)
    assert (entry["model"], entry["sku"], entry["spilled_to"]) == ("gpt-4o", "ProvisionedManaged", "")
    assert Decimal(entry["cost_usd"]) == cost(entry["usage"], STANDARD)
    assert await findings(stack) == []


async def test_a_spillover_deployment_without_a_price_is_refused(stack: Stack) -> None:
    await with_ptu(stack, "gpt-4o-mini", spillover_deployment=SPILL)
    status, _, answer = await stack.chat()
    assert (status, answer["error"]["code"]) == (424, "unpriced_model")
    assert "model 'mini' (GlobalStandard, swedencentral)" in answer["error"]["message"]


async def test_residency_is_judged_for_both_deployments(stack: Stack) -> None:
    await insert(stack, MINI, model="mini")
    path = f"/manage/tenants/{stack.tenant}"
    await stack.manage("PATCH", path, {"deployments": ["gpt-4o"], "residency": {"zones": ["eu"]}})
    await backend(stack)
    await stack.manage("PUT", "/manage/deployments/gpt-4o", {"backends": ["ptu"]})
    with pytest.raises(AssertionError, match="its spillover deployment 'gpt-4o-mini': GlobalStandard may process"):
        await backend(stack, spillover_deployment=SPILL)
    await backend(stack, spillover_deployment=SPILL | {"sku": "DataZoneStandard"})
    stack.simulator.spilled["gpt-4o"] = "gpt-4o-mini"
    await stack.chat()
    assert (await last_entry(stack))["processed_in"] == "eu"
    await backend(stack, "global", spillover_deployment=SPILL)
    await stack.manage("PUT", "/manage/deployments/gpt-4o", {"backends": ["global", "ptu"]})
    for _ in range(9):
        await stack.chat()
    await stack.settled()
    assert {entry["backend"] for entry in await stack.entries()} == {"ptu"}
    asked = {"tenant_id": stack.tenant, "deployment": "gpt-4o"}
    explained = await stack.manage("POST", "/manage/route", asked)
    assert "spillover deployment" in next(e["reason"] for e in explained["backends"] if e["backend"] == "global")


async def test_a_spill_that_nobody_configured_costs_what_the_named_deployment_does(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    await insert(stack, DEAR, model="mini")
    await backend(stack, "mini", upstream_deployment="gpt-4o-mini", model="mini", sku="GlobalStandard")
    await with_ptu(stack, "gpt-4o-mini")
    await stack.chat()
    entry = await last_entry(stack)
    assert Decimal(entry["cost_usd"]) == cost(entry["usage"], DEAR)
    assert (entry["price_flags"], entry["spilled_to"]) == ("unconfigured_spillover", "gpt-4o-mini")
    assert (entry["model"], entry["processed_in"]) == ("mini", "global")
    alarms = [record for record in caplog.records if record.levelname == "ERROR"]
    assert ["gateway.backend.spilled" in alarm.getMessage() for alarm in alarms] == [True]
    assert await findings(stack) == []


@pytest.mark.parametrize("name", ["nobody-knows", "", "gpt-4o", "ü" * 300])
async def test_a_spill_to_an_unknown_deployment_costs_the_dearest_of_the_resource(stack: Stack, name: str) -> None:
    await insert(stack, DEAR, model="mini")
    await insert(stack, {"input": "900.00", "output": "900.00"}, model="elsewhere")
    await backend(stack, "other", upstream_deployment="other", spillover_deployment=SPILL)
    await backend(stack, "unpriced", upstream_deployment="unpriced", model="unpriced")
    elsewhere = {"endpoint": f"{stack.simulator_url}/eastus", "region": "eastus", "model": "elsewhere"}
    await backend(stack, "elsewhere", **elsewhere)
    await with_ptu(stack, "x")
    stack.simulator.spilled["gpt-4o"] = name.encode().decode("latin-1")
    await stack.chat()
    entry = await last_entry(stack)
    assert Decimal(entry["cost_usd"]) == cost(entry["usage"], DEAR)
    assert (entry["price_flags"], entry["processed_in"], entry["sku"]) == ("unconfigured_spillover", "global", "")
    assert 0 < len(entry["spilled_to"]) <= 64
    assert await findings(stack) == []


async def test_a_spill_to_a_named_deployment_without_a_price_costs_the_dearest_of_the_resource(stack: Stack) -> None:
    await backend(stack, "unpriced", upstream_deployment="lonely", model="unpriced")
    await with_ptu(stack, "lonely")
    await stack.chat()
    entry = await last_entry(stack)
    of_image_model = {"input": "5.00", "output": "40.00"}
    assert Decimal(entry["cost_usd"]) == cost(entry["usage"], of_image_model)
    assert entry["price_flags"] == "unconfigured_spillover"


@pytest.mark.parametrize("is_configured", [True, False])
async def test_a_background_response_that_spilled_is_settled_at_the_price_of_who_served(
    stack: Stack, is_configured: bool
) -> None:
    await insert(stack, MINI, model="mini", model_version="7")
    stated = SPILL | {"model_version": "7"}
    await with_ptu(stack, "gpt-4o-mini", **({"spillover_deployment": stated} if is_configured else {}))
    body = {"input": "Hello!", "background": True}
    assert (await stack.infer("responses", "gpt-4o", body, dated=False))[0] == 200
    await settle_background(stack)
    entry = await last_entry(stack)
    assert (entry["model"], entry["spilled_to"]) == ("mini" if is_configured else "gpt-4o-mini", "gpt-4o-mini")
    assert entry["price_flags"] == ("" if is_configured else "unconfigured_spillover")
    assert Decimal(entry["cost_usd"]) == cost(entry["usage"], MINI if is_configured else STANDARD)
    assert await findings(stack) == []


async def test_a_refusal_by_the_spillover_deployment_is_booked_as_its_own(stack: Stack) -> None:
    await insert(stack, MINI, model="mini")
    await with_ptu(stack, "gpt-4o-mini", spillover_deployment=SPILL)
    assert (await stack.chat(n="x"))[0] == 400
    assert (await stack.chat(tools=[{"type": "function"}], temperature=9))[0] in (200, 400)
    await stack.chat("[filter-prompt]")
    entry = await last_entry(stack)
    assert (entry["error_code"], entry["spilled_to"]) == ("content_filter", "gpt-4o-mini")
    assert Decimal(entry["cost_usd"]) == cost(entry["usage"], MINI)


async def test_a_spill_that_failed_is_logged_and_charges_nothing(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    await insert(stack, MINI, model="mini")
    await with_ptu(stack, "x", spillover_deployment=SPILL)
    stack.simulator.spilled.clear()
    await stack.fault(
        kind="status", status=429, headers={"x-ms-spillover-error": "no such deployment", "retry-after": "9"}
    )
    await stack.chat()
    entry = (await stack.entries())[0]
    assert (entry["kind"], entry["tokens"], entry["spilled_to"]) == ("void", 0, "")
    assert "gateway.backend.spill_failed" in caplog.text
    assert "no such deployment" in caplog.text


async def test_a_late_settlement_of_a_spill_adds_up(stack: Stack) -> None:
    await insert(stack, MINI, model="mini")
    await insert(stack, PRIORITY, service_tier="priority")
    await with_ptu(stack, "gpt-4o-mini", spillover_deployment=SPILL)
    body = {"input": "Hello!", "background": True}
    assert (await stack.infer("responses", "gpt-4o", body, dated=False))[0] == 200
    gateway = await stack.gateway()
    ((_, held),) = [each async for each in gateway.inference.settle_background._directory.deferred()]
    expire: Any = gateway.ledger.expire_reservations
    await gateway.ledger.books.expire(held, await expire._outcome(held, ExpiryPolicy.FULL))
    await settle_background(stack)
    await stack.settled()
    expired, late = await stack.entries()
    usage = {meter: expired["usage"][meter] + late["usage"][meter] for meter in ("input", "cached_input", "output")}
    assert Decimal(expired["cost_usd"]) + Decimal(late["cost_usd"]) == cost(usage, MINI)
    assert await findings(stack) == []


async def test_a_caller_cannot_ask_azure_for_spillover(stack: Stack) -> None:
    headers = {"api-key": stack.key, "x-ms-spillover-deployment": "gpt-4o-mini"}
    body = {"messages": [{"role": "user", "content": "Hi"}]}
    async with stack.session.post(stack.chat_url, json=body, headers=headers) as response:
        assert response.status == 200
    await eventually(lambda: bool(stack.simulator.records))
    assert not any("spillover" in name for name in stack.simulator.records[-1].headers)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"spillover_deployment": SPILL | {"deployment": "gpt-4o"}}, "spillover_deployment"),
        ({"spillover_deployment": SPILL | {"sku": "GlobalStandart"}}, "spillover_deployment.sku"),
        ({"spillover_deployment": SPILL | {"zone": "us"}}, "spillover_deployment.zone"),
        ({"spillover_deployment": {"deployment": "x"}}, "spillover_deployment.sku"),
        ({"headers": {"x-ms-spillover-deployment": "mini"}}, "headers"),
        ({"headers": {"X-MS-Spillover-Deployment": "other"}, "spillover_deployment": SPILL}, "headers"),
    ],
)
async def test_an_impossible_spillover_is_refused(stack: Stack, fields: dict[str, Any], param: str) -> None:
    definition = {"endpoint": f"{stack.simulator_url}/swedencentral", "upstream_deployment": "gpt-4o"}
    body = definition | {"model": "gpt-4o", "region": "swedencentral", "auth": "api_key"} | fields
    refused = await stack.manage("PUT", "/manage/backends/new", body, status=400)
    assert refused["error"]["param"] == param


async def test_a_spillover_deployment_takes_region_and_zone_from_its_backend(stack: Stack) -> None:
    asks = {"headers": {"x-ms-spillover-deployment": "gpt-4o-mini"}}
    await backend(stack, "here", spillover_deployment=SPILL, **asks)
    await backend(stack, "there", spillover_deployment=SPILL | {"region": "eastus"})
    for name, region, zone in (("here", "swedencentral", "eu"), ("there", "eastus", "us")):
        stated = (await stack.manage("GET", f"/manage/backends/{name}"))["spillover_deployment"]
        assert (stated["region"], stated["zone"]) == (region, zone)
