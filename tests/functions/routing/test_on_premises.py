"""The guide's example of a model on the operator's premises: the simulator stands for its server."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.tools.stack import Stack

GUIDE = (Path(__file__).resolve().parents[3] / "docs/guide/hybrid.md").read_text()
SECTION = GUIDE.partition("## Models on your premises")[2].partition("\n## ")[0]
SETTINGS = dict(re.findall(r"^ +([A-Z_]+)=(.+)$", SECTION, re.MULTILINE))
BACKEND: dict[str, Any] = json.loads(SECTION.partition("```json")[2].partition("```")[0])

on_premises = pytest.mark.parametrize("stack_settings", [SETTINGS], indirect=True)


async def configure(stack: Stack, zones: list[str]) -> None:
    """Follow the guide, and add Azure as the second choice. The server is the simulator, and its key a setting."""
    here = {"endpoint": f"{stack.simulator_url}/swedencentral/openai/v1", "upstream_deployment": "gpt-4o"}
    definition = {name: value for name, value in BACKEND.items() if name != "secret_name"}
    await stack.manage("PUT", "/manage/backends/hq", {**definition, **here})
    for meter in ("input", "cached_input", "output"):
        price = {"model": BACKEND["model"], "meter": meter, "usd_per_million": "0.10"}
        await stack.manage("POST", "/manage/prices", {**price, "effective_from": "2024-01-01T00:00:00Z"})
    await stack.manage("PUT", "/manage/deployments/gpt-4o", {"backends": ["hq"], "fallbacks": ["azure"]})
    tenant = {"deployments": ["gpt-4o"], "residency": {"zones": zones}}
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", tenant)


async def prepare(stack: Stack) -> None:
    await stack.manage("PUT", "/manage/deployments/azure", {"backends": ["se-gpt-4o"]})


@on_premises
async def test_the_example_is_accepted_word_for_word(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    definition = {name: value for name, value in BACKEND.items() if name != "secret_name"}
    answer = await stack.manage("PUT", "/manage/backends/hq", definition)
    assert (answer["zone"], answer["region"], answer["api"]) == ("contoso-hq", "berlin-dc1", "openai")


async def test_without_the_settings_it_is_refused(stack: Stack) -> None:
    refused = await stack.manage("PUT", "/manage/backends/hq", BACKEND, status=400)
    assert refused["error"]["param"] in ("endpoint", "zone")


@on_premises
async def test_a_chat_is_served_on_the_premises_and_booked_there(stack: Stack) -> None:
    await prepare(stack)
    await configure(stack, ["contoso-hq"])
    assert (await stack.chat())[0] == 200
    assert (await stack.chat(stream=True))[0] == 200
    for entry in await stack.entries():
        place = (entry["backend"], entry["region"], entry["processed_in"], entry["sku"], entry["model"])
        assert place == ("hq", "berlin-dc1", "contoso-hq", "OnPremises", "gpt-oss-120b")
        assert (entry["kind"], entry["tokens"]) == ("charge", 49)
    for record in await stack.requests():
        assert record["path"].endswith("/openai/v1/chat/completions")


@on_premises
async def test_no_failover_leaves_the_premises(stack: Stack) -> None:
    await prepare(stack)
    await configure(stack, ["contoso-hq"])
    await stack.fault(kind="status", status=503, count=None)
    status, _, _ = await stack.chat()
    assert status in (502, 503)
    assert {entry["backend"] for entry in await stack.entries()} == {"hq"}


@on_premises
async def test_a_tenant_that_allows_europe_too_is_served_by_azure_then(stack: Stack) -> None:
    await prepare(stack)
    await configure(stack, ["contoso-hq", "eu"])
    await stack.fault(kind="status", status=503)
    assert (await stack.chat())[0] == 200
    assert [entry["backend"] for entry in await stack.entries()] == ["hq", "se-gpt-4o"]
