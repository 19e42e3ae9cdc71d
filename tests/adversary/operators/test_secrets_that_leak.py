"""No secret of a vault is in a log, an answer, an entry or a text of an object, whatever fails."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Iterator

import pytest

from shared.domain.errors import SecretUnavailable
from tests.functions.secrets.conftest import ADMIN_SECRET, BACKEND_SECRET, Vaulted, vaulted
from tests.tools.stack import ADMIN_KEY, SIMULATOR_KEY

__all__ = ["vaulted"]
CANARY = "canary-canary-0123456789-canary-key"
SECRETS = (CANARY, ADMIN_KEY, SIMULATOR_KEY)


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """Everything that any logger writes, that of the SDK too."""
    caplog.set_level(logging.DEBUG)
    yield caplog
    for secret in SECRETS:
        assert secret not in caplog.text


def check(text: str) -> None:
    for secret in SECRETS:
        assert secret not in text


async def test_a_rotation_leaves_no_trace_of_a_value(vaulted: Vaulted, log: pytest.LogCaptureFixture) -> None:
    stack, vault = vaulted.stack, vaulted.vault
    assert (await stack.chat())[0] == 200
    vault.set(BACKEND_SECRET, CANARY)
    vault.set(ADMIN_SECRET, CANARY)
    stack.simulator.api_key = CANARY
    assert await vaulted.status(CANARY) == 200
    assert (await stack.chat())[0] == 200
    stack.simulator.api_key = "another"
    status, headers, answer = await stack.chat()
    assert status == 502
    check(f"{headers} {answer} {await stack.entries()} {await stack.manage('GET', '/manage/backends')}")
    gateway = await stack.gateway()
    check(f"{gateway!r} {gateway.settings!r}")
    check(f"{gateway.settings.model_dump()} {gateway.settings.model_dump_json()}")


@pytest.mark.parametrize(
    "body",
    [
        f'{{"value": "{CANARY}"',
        f'"{CANARY}"',
        f'{{"value": "{CANARY}\\n", "id": "https://x/secrets/key/1"}}',
        f'{{"value": "{CANARY}", "id": "{CANARY}"}}',
    ],
)
async def test_an_answer_that_cannot_be_read_does_not_quote_a_value(
    vaulted: Vaulted, log: pytest.LogCaptureFixture, body: str
) -> None:
    stack = vaulted.stack
    vaulted.vault.body = body.encode()
    await stack.backend("swedencentral", secret_name="key")
    await stack.manage("PUT", "/manage/deployments/gpt-4o", {"backends": ["swedencentral"]})
    status, headers, answer = await stack.chat()
    assert (status, answer["error"]["code"]) == (503, "no_backend_available")
    assert "'key'" in answer["error"]["message"]
    check(f"{headers} {answer} {await stack.entries()}")
    check(str(await stack.health()))


async def test_an_error_of_the_vault_has_no_traceback_that_quotes_its_answer(vaulted: Vaulted) -> None:
    gateway = await vaulted.stack.gateway()
    vaulted.vault.body = f'{{"value": "{CANARY}"'.encode()
    secrets = gateway.tenancy.authenticate._admin_key._secrets
    with pytest.raises(SecretUnavailable) as raised:
        await secrets.get("key")
    check("".join(traceback.format_exception(raised.value)))


async def test_a_backend_cannot_be_sent_the_management_key(vaulted: Vaulted) -> None:
    backend = {
        "endpoint": f"{vaulted.stack.simulator_url}/eastus", "upstream_deployment": "d", "model": "gpt-4o",
        "region": "eastus", "auth": "api_key",
    }  # fmt: skip
    for name in (ADMIN_SECRET, ADMIN_SECRET.upper()):
        refused = await vaulted.stack.manage(
            "PUT", "/manage/backends/thief", {**backend, "secret_name": name}, status=400
        )
        assert refused["error"]["param"] == "secret_name"
    for name in ("../keys/x", "a/b", "x" * 128, "a\n"):
        refused = await vaulted.stack.manage(
            "PUT", "/manage/backends/thief", {**backend, "secret_name": name}, status=400
        )
        assert refused["error"]["param"] == "secret_name"
