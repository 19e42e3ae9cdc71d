"""The privacy key is in the vault: a rotation needs no restart, and a missing key refuses requests, not privacy."""

from __future__ import annotations

from typing import Any

import pytest

from tests.functions.secrets.conftest import OLD, Vaulted
from tests.tools.stack import PRIVACY_KEY

SECRET, NEWER = "tallygate-privacy-key", "newer-privacy-key-newer-privacy-key"
pytestmark = pytest.mark.parametrize(
    "stack_settings", [{"PRIVACY_KEY": "", "PRIVACY_KEY_SECRET_NAME": SECRET}], indirect=True
)


async def ask(vaulted: Vaulted) -> None:
    vaulted.vault.set(SECRET, PRIVACY_KEY, age_seconds=OLD)
    asked = {"pseudonymise_users": True, "prompt_hmac": True}
    await vaulted.stack.manage("PATCH", f"/manage/tenants/{vaulted.stack.tenant}", asked)


async def names(vaulted: Vaulted) -> list[tuple[str, str]]:
    """Return the user and the hash of the prompt of each entry."""
    await vaulted.stack.settled()
    return [(entry["user"], entry["prompt_hmac"]) for entry in await vaulted.stack.entries()]


def forget(vaulted: Vaulted, gateway: Any) -> None:
    """Let the process read its secrets anew, as it does after some minutes."""
    vault = gateway.tenancy.privacy_keys._secrets._vault
    vault._secrets.clear()
    vault._histories.clear()
    gateway.tenancy.users._known.clear()


async def test_a_new_version_hashes_anew_and_keeps_aliases(vaulted: Vaulted) -> None:
    await ask(vaulted)
    gateway = await vaulted.stack.gateway()
    await vaulted.stack.chat(user="ann")
    vaulted.vault.set(SECRET, NEWER)
    forget(vaulted, gateway)
    for user in ("ann", "bob"):
        await vaulted.stack.chat(user=user)
    (ann, before), (same, after), (bob, also_after) = await names(vaulted)
    assert ann == same != bob
    assert after == also_after
    assert before.partition(".")[0] != after.partition(".")[0]
    path = f"/manage/tenants/{vaulted.stack.tenant}/users"
    for user in ("ann", "bob"):
        await vaulted.stack.manage("POST", f"{path}/erase", {"user": user, "reason": "r"})
        await vaulted.stack.manage("POST", f"{path}/lookup", {"user": user}, status=404)


async def test_a_missing_key_refuses_the_request_and_names_itself(vaulted: Vaulted) -> None:
    path = f"/manage/tenants/{vaulted.stack.tenant}"
    for asked in ({"pseudonymise_users": True}, {"pseudonymise_users": False, "prompt_hmac": True}):
        await vaulted.stack.manage("PATCH", path, asked)
        status, headers, answer = await vaulted.stack.chat(user="ann")
        assert (status, answer["error"]["code"]) == (503, "secret_unavailable")
        assert SECRET in answer["error"]["message"]
        assert "retry-after" in headers
    assert await names(vaulted) == []


async def test_a_backend_cannot_be_sent_the_privacy_key(vaulted: Vaulted) -> None:
    backend = {"endpoint": vaulted.stack.simulator_url, "upstream_deployment": "d", "model": "m", "region": "eastus"}
    thief = {**backend, "auth": "api_key", "secret_name": SECRET}
    refused = await vaulted.stack.manage("PUT", "/manage/backends/thief", thief, status=400)
    assert refused["error"]["param"] == "secret_name"
