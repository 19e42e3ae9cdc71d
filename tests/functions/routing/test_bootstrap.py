"""Settings create the first backend and deployment, once, and replace nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shared.adapters.documents.pricing import DocumentPrices
from shared.adapters.documents.routing import DocumentCatalog
from shared.adapters.documents.store import Documents
from shared.adapters.documents.tenancy import DocumentTenants
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.application.routing.bootstrap_catalog import BootstrapCatalog
from shared.composition.process import close_current_gateway
from shared.domain.routing.backend_rules import BackendRules
from shared.domain.routing.catalog import Backend, Deployment
from tests.tools.events import told, waiting
from tests.tools.ledgers import PRICES as GPT_4O_PRICES
from tests.tools.ledgers import ManualClock
from tests.tools.stack import PRICES, SIMULATOR_KEY, Stack, bare_stack

DEFINED = {
    "AZURE_OPENAI_DEPLOYMENT": "gpt-4o",
    "AZURE_OPENAI_MODEL": "gpt-4o",
    "AZURE_OPENAI_REGION": "swedencentral",
    "AZURE_OPENAI_SKU": "DataZoneStandard",
    "AZURE_OPENAI_API_VERSION": "2024-10-21",
    "AZURE_OPENAI_MAX_TOKENS": "77",
    "AZURE_OPENAI_TEMPERATURE": "0.2",
}


@pytest.fixture
async def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Stack]:
    """A gateway whose settings define a backend, and that has read none of them yet."""
    async with bare_stack(monkeypatch, tmp_path, {"TALLYGATE_STORAGE": "memory", **DEFINED}) as stack:
        monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", f"{stack.simulator_url}/swedencentral")
        yield stack


async def misconfigured(stack: Stack) -> str:
    async with stack.session.get(f"{stack.url}/readyz") as response:
        error = (await response.json())["error"]
        assert (response.status, error["code"]) == (503, "misconfigured")
        return str(error["message"])


async def test_settings_create_a_backend_that_serves(bare: Stack, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    for meter, price in PRICES["gpt-4o"].items():
        row = {"model": "gpt-4o", "meter": meter, "usd_per_million": price, "effective_from": "2024-01-01T00:00:00Z"}
        await bare.manage("POST", "/manage/prices", row)
    assert "the model 'gpt-4o' has no price, so its requests get 424" in caplog.text
    assert SIMULATOR_KEY not in caplog.text
    tenant = {"tenant_id": bare.tenant, "deployments": ["gpt-4o"]}
    await bare.manage("POST", "/manage/tenants", tenant)
    bare.key = (await bare.manage("POST", f"/manage/tenants/{bare.tenant}/keys", {}))["key"]
    assert (await bare.chat())[0] == 200
    (record,) = await bare.requests()
    assert (record["body"]["temperature"], record["api_version"]) == (0.2, "2024-10-21")
    backend = await bare.manage("GET", "/manage/backends/gpt-4o")
    stated = {name: backend[name] for name in ("sku", "zone", "auth", "secret_name")}
    assert stated == {"sku": "DataZoneStandard", "zone": "eu", "auth": "api_key", "secret_name": ""}
    deployment = await bare.manage("GET", "/manage/deployments/gpt-4o")
    assert (deployment["backends"], deployment["max_output_tokens"]) == (["gpt-4o"], 77)


@pytest.mark.parametrize(
    ("stated", "has_key", "auth"),
    [("", True, "api_key"), ("", False, "managed_identity"), ("true", True, "managed_identity"),
     ("false", True, "api_key"), ("false", False, "managed_identity")],
)  # fmt: skip
async def test_use_managed_identity_goes_before_a_key(
    bare: Stack, monkeypatch: pytest.MonkeyPatch, stated: str, has_key: bool, auth: str
) -> None:
    monkeypatch.setenv("USE_MANAGED_IDENTITY", stated)
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "k" if has_key else "")
    assert (await bare.manage("GET", "/manage/backends/gpt-4o"))["auth"] == auth


async def test_a_key_of_the_vault_is_used_without_an_identity(bare: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USE_MANAGED_IDENTITY", "false")
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "")
    monkeypatch.setenv("AZURE_KEY_VAULT_URL", "https://tallygate.vault.azure.net")
    assert (await bare.manage("GET", "/manage/backends/gpt-4o"))["auth"] == "api_key"


async def test_all_missing_settings_are_named_at_once(bare: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in DEFINED:
        monkeypatch.delenv(name)
    message = await misconfigured(bare)
    for name in ("DEPLOYMENT", "MODEL", "REGION"):
        assert f"AZURE_OPENAI_{name} is required for the first backend" in message


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"AZURE_OPENAI_ENDPOINT": "https://evil.example"}, ["AZURE_OPENAI_ENDPOINT: 'endpoint' must be https"]),
        ({"AZURE_OPENAI_REGION": "swedencentrall"}, ["AZURE_OPENAI_REGION: 'region'", "Did you mean 'swedencentral'"]),
        ({"AZURE_OPENAI_SKU": "Globalstandard"}, ["AZURE_OPENAI_SKU: 'sku'"]),
        ({"AZURE_OPENAI_DEPLOYMENT": "a\tb"}, ["AZURE_OPENAI_DEPLOYMENT: "]),
        (
            {"AZURE_OPENAI_TEMPERATURE": "3", "AZURE_OPENAI_MAX_TOKENS": "0", "AZURE_OPENAI_API_VERSION": "a b"},
            ["AZURE_OPENAI_TEMPERATURE: ", "AZURE_OPENAI_MAX_TOKENS: ", "AZURE_OPENAI_API_VERSION: "],
        ),
        ({"AZURE_OPENAI_MAX_TOKENS": "many"}, ["AZURE_OPENAI_MAX_TOKENS: "]),
    ],
)
async def test_the_rules_are_those_of_the_management_api(
    bare: Stack, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], told: list[str]
) -> None:
    for name, value in changes.items():
        monkeypatch.setenv(name, value)
    message = await misconfigured(bare)
    for text in told:
        assert text in message


async def test_nothing_happens_once_there_is_a_backend(
    stack: Stack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    documents = (await stack.gateway()).routing.bootstrap._store._documents  # type: ignore[attr-defined]
    before = await waiting(documents)

    def define() -> tuple[Backend, Deployment]:
        raise AssertionError("wrong settings do not matter any more")

    await (await stack.gateway()).routing.bootstrap(define)
    assert await waiting(documents) == before


async def test_without_settings_nothing_is_created(bare: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_DEPLOYMENT", "AZURE_OPENAI_MODEL", "AZURE_OPENAI_REGION"):
        monkeypatch.delenv(name)
    assert (await bare.manage("GET", "/manage/backends"))["data"] == []


def bootstrap(documents: Documents) -> BootstrapCatalog:
    rules = BackendRules(host_suffixes=(".openai.azure.com",))
    catalog, tenants, prices = DocumentCatalog(documents), DocumentTenants(documents), DocumentPrices(documents)
    return BootstrapCatalog(catalog, tenants, prices, ManualClock(), rules)


def defined(name: str = "gpt-4o", **changes: Any) -> tuple[Backend, Deployment]:
    backend = Backend(
        backend_id=name, endpoint="https://x.openai.azure.com", upstream_deployment=name, model="m", region="eastus"
    )
    return backend, Deployment(name=name, backends=(name,), **changes)


class Slow(InMemoryDocuments):
    """Lets every other process run before it answers."""

    async def list(self, table: str, **query: Any) -> Any:
        found = await super().list(table, **query)
        for _ in range(9):
            await asyncio.sleep(0)
        return found


async def test_of_several_processes_one_creates_it_and_records_it(caplog: pytest.LogCaptureFixture) -> None:
    documents = Slow()
    await asyncio.gather(*(bootstrap(documents)(defined) for _ in range(8)))
    events = await waiting(documents)
    assert sorted((each["actor"], each["action"], each["target"]) for each in events) == [
        ("environment", "backend.put", "gpt-4o"),
        ("environment", "deployment.put", "gpt-4o"),
    ]
    assert caplog.text.count("were created from the settings") == 1
    catalog = await DocumentCatalog(documents).load()
    assert [*catalog.backends] == [*catalog.deployments] == ["gpt-4o"]
    assert catalog.backends["gpt-4o"].zone == "us"


async def test_a_process_that_died_between_the_two_is_completed_by_the_next() -> None:
    documents = InMemoryDocuments()
    _, deployment = defined(max_output_tokens=7)
    await DocumentCatalog(documents).put_deployment(deployment, told(after=deployment))
    await bootstrap(documents)(defined)
    catalog = await DocumentCatalog(documents).load()
    assert [*catalog.backends] == ["gpt-4o"]
    assert catalog.deployments["gpt-4o"].max_output_tokens == 7  # what stands there is never replaced


async def test_a_model_that_has_a_price_needs_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    documents = InMemoryDocuments()
    await DocumentPrices(documents).restore(GPT_4O_PRICES[0])
    backend, deployment = defined()
    await bootstrap(documents)(lambda: (replace(backend, model="gpt-4o"), deployment))
    assert "were created" in caplog.text
    assert "has no price" not in caplog.text


async def test_a_gateway_that_cannot_reach_storage_tries_again(bare: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TALLYGATE_STORAGE", "tables")
    monkeypatch.setenv("TALLYGATE_STORAGE_ACCOUNT_NAME", "x")
    monkeypatch.setenv("TALLYGATE_STORAGE_ACCOUNT_KEY", "a2V5")
    for name in ("TABLE", "BLOB"):
        monkeypatch.setenv(f"TALLYGATE_{name}_ENDPOINT", "http://127.0.0.1:1/x")
    async with bare.session.get(f"{bare.url}/me") as response:
        assert (response.status, (await response.json())["error"]["code"]) == (503, "ledger_unavailable")
    monkeypatch.setenv("TALLYGATE_STORAGE", "memory")
    assert len((await bare.manage("GET", "/manage/backends"))["data"]) == 1
    await close_current_gateway()
