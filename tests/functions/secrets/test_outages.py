"""The vault is down, slow or lacks a secret. What is cached goes on; what is missing is named."""

from __future__ import annotations

from shared.composition.process import close_current_gateway
from tests.functions.secrets.conftest import ADMIN_SECRET, BACKEND_SECRET, Vaulted
from tests.tools.stack import ADMIN_KEY


async def test_while_the_vault_is_down_all_that_is_cached_serves(vaulted: Vaulted) -> None:
    assert (await vaulted.stack.chat())[0] == 200
    vaulted.vault.status = 503
    assert (await vaulted.stack.chat())[0] == 200
    assert await vaulted.status(ADMIN_KEY) == 200
    assert await vaulted.status("x" * 40) == 401


async def test_a_backend_whose_key_is_missing_is_unavailable_and_names_the_secret(vaulted: Vaulted) -> None:
    stack, vault = vaulted.stack, vaulted.vault
    del vault.versions[BACKEND_SECRET]
    status, _, answer = await stack.chat()
    assert (status, answer["error"]["code"]) == (503, "no_backend_available")
    assert f"The secret '{BACKEND_SECRET}' does not exist in the key vault." in answer["error"]["message"]
    (entry,) = await stack.entries()
    assert entry["kind"] == "void"
    async with stack.session.get(f"{stack.url}/readyz") as response:
        assert (response.status, (await response.json())["checks"]["backends"]) == (200, "failed")


async def test_another_backend_serves_if_the_key_of_the_first_is_missing(vaulted: Vaulted) -> None:
    stack = vaulted.stack
    await stack.backend("swedencentral", secret_name="missing", priority=1)
    await stack.backend("eastus", priority=2)
    await stack.manage("PUT", "/manage/deployments/gpt-4o", {"backends": ["swedencentral", "eastus"]})
    status, headers, _ = await stack.chat()
    assert (status, headers["x-gateway-backend"], headers["x-gateway-attempts"]) == (200, "eastus", "2")


async def test_at_a_cold_start_without_the_vault_tenants_are_served_and_administrators_told(vaulted: Vaulted) -> None:
    stack, vault = vaulted.stack, vaulted.vault
    await close_current_gateway()
    vault.status = 503
    async with stack.session.get(f"{stack.url}/manage/tenants", headers={"api-key": ADMIN_KEY}) as response:
        answer = await response.json()
        assert (response.status, answer["error"]["code"]) == (503, "secret_unavailable")
        assert ADMIN_SECRET in answer["error"]["message"]
        assert response.headers["retry-after"] == "10"


async def test_a_key_that_is_refused_and_gone_is_a_refusal_of_the_backend(vaulted: Vaulted) -> None:
    stack, vault = vaulted.stack, vaulted.vault
    assert (await stack.chat())[0] == 200
    del vault.versions[BACKEND_SECRET]
    stack.simulator.api_key = "k2"
    status, _, answer = await stack.chat()
    assert (status, answer["error"]["code"]) == (502, "backend_error")
