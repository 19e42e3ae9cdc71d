"""The gateway signs its ledger with a key of the vault, and does not start without it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from shared.cli.__main__ import run
from shared.composition.process import close_current_gateway
from shared.domain.identifiers import BillingPeriod
from tests.functions.secrets.conftest import CHAIN_SECRET, Vaulted

IN_VAULT = [{"AUDIT_CHAIN_KEY": "", "AUDIT_CHAIN_KEY_SECRET_NAME": CHAIN_SECRET}]


@pytest.mark.parametrize("stack_settings", [*IN_VAULT, {"AUDIT_CHAIN_KEY_SECRET_NAME": CHAIN_SECRET}], indirect=True)
async def test_entries_name_the_version_of_the_vault_and_verify_with_it(
    vaulted: Vaulted, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stack, vault = vaulted.stack, vaulted.vault
    assert (await stack.chat())[0] == 200
    await stack.settled()
    gateway = await stack.gateway()
    period, file = str(BillingPeriod.containing(gateway.clock.now())), tmp_path / "archive.gz"
    await gateway.ledger.archive.export(period, file)
    (version,) = vault.versions[CHAIN_SECRET]
    assert await key_versions(file, capsys) == {(version.version, True)}
    vault.status = 503
    assert await key_versions(file, capsys) == {(version.version, False)}  # and the verification says so


async def key_versions(file: Path, capsys: pytest.CaptureFixture[str]) -> set[tuple[str, bool]]:
    """Verify an archive. Returns the versions that signed entries, and whether their keys are known."""
    await asyncio.to_thread(run, ["verify", "--archive", str(file), "--json"])
    document = json.loads(capsys.readouterr().out)
    assert document["findings"] == []
    return {(each["key_version"], each["is_key_known"]) for each in document["chained"]}


@pytest.mark.parametrize("stack_settings", IN_VAULT, indirect=True)
async def test_a_process_that_cannot_read_it_serves_nothing_and_names_it(vaulted: Vaulted) -> None:
    stack, vault = vaulted.stack, vaulted.vault
    await close_current_gateway()
    vault.status = 503
    for path in ("/readyz", "/manage/tenants", "/me"):
        async with stack.session.get(stack.url + path) as response:
            error = (await response.json())["error"]
            assert (response.status, error["code"]) == (503, "secret_unavailable")
            assert CHAIN_SECRET in error["message"]
            assert error["message"].endswith(f"(request id: {response.headers['x-gateway-request-id']})")
    vault.status = 0
    async with stack.session.get(f"{stack.url}/me") as response:
        assert response.status == 401  # it started


@pytest.mark.parametrize("stack_settings", IN_VAULT, indirect=True)
async def test_a_backend_cannot_be_sent_the_chain_key(vaulted: Vaulted) -> None:
    backend = {"endpoint": vaulted.stack.simulator_url, "upstream_deployment": "d", "model": "m", "region": "eastus"}
    thief = {**backend, "auth": "api_key", "secret_name": CHAIN_SECRET}
    refused = await vaulted.stack.manage("PUT", "/manage/backends/thief", thief, status=400)
    assert refused["error"]["param"] == "secret_name"
