"""Secrets are rotated in the vault while the gateway runs. No request is lost, and no restart is needed."""

from __future__ import annotations

import asyncio

import pytest

from shared.adapters.azure_openai.upstream import AiohttpUpstream
from tests.functions.secrets.conftest import ADMIN_SECRET, BACKEND_SECRET, OLD, Vaulted
from tests.tools.scripted_backend import scripted_backend
from tests.tools.stack import ADMIN_KEY, eventually

NEW_ADMIN_KEY = "another-admin-key-another-admin-key"


async def test_a_backend_s_key_is_rotated_without_a_failed_request_or_a_further_attempt(vaulted: Vaulted) -> None:
    stack, vault = vaulted.stack, vaulted.vault
    assert (await stack.chat())[0] == 200
    vault.set(BACKEND_SECRET, "k2", age_seconds=OLD)
    stack.simulator.api_key = "k2"  # from now on the backend refuses the old key
    answers = await asyncio.gather(*(stack.chat() for _ in range(8)))
    assert {(status, headers["x-gateway-attempts"]) for status, headers, _ in answers} == {(200, "1")}
    entries = await stack.entries()
    assert {(each["kind"], each["status"]) for each in entries} == {("charge", 200)}
    assert len(entries) == 9
    assert vault.requests.count(f"/secrets/{BACKEND_SECRET}/") == 2  # all of them shared one reading
    assert (await stack.chat())[0] == 200
    assert [each["status"] for each in (await stack.requests())[-1:]] == [200]


async def test_a_new_key_may_be_in_the_vault_before_the_backend_takes_it(vaulted: Vaulted) -> None:
    stack, vault = vaulted.stack, vaulted.vault
    vault.set(BACKEND_SECRET, "k2")  # the backend still has the old one
    assert (await stack.chat())[0] == 200
    stack.simulator.api_key = "k2"
    assert (await stack.chat())[0] == 200


async def test_streams_and_stored_responses_survive_a_rotation_too(vaulted: Vaulted) -> None:
    stack, vault = vaulted.stack, vaulted.vault
    url, headers = f"{stack.url}/openai/v1/responses", {"api-key": stack.key}
    async with stack.session.post(url, json={"model": "gpt-4o", "input": "Hi"}, headers=headers) as answer:
        made = (await answer.json())["id"]
    vault.set(BACKEND_SECRET, "k2", age_seconds=OLD)
    stack.simulator.api_key = "k2"
    async with stack.session.get(f"{url}/{made}", headers=headers) as answer:
        assert answer.status == 200
    status, _, stream = await stack.chat(stream=True)
    assert (status, b"[DONE]" in stream) == (200, True)


async def test_a_key_that_no_version_replaces_fails_over_and_alarms(vaulted: Vaulted) -> None:
    stack = vaulted.stack
    stack.simulator.api_key = "k2"
    status, _, answer = await stack.chat()
    assert (status, answer["error"]["code"]) == (502, "backend_error")
    (entry,) = await stack.entries()
    assert (entry["kind"], entry["error_code"]) == ("void", "upstream_401")
    assert (await stack.health())["se-gpt-4o"]["is_misconfigured"]


async def test_each_backend_may_have_a_key_of_its_own(vaulted: Vaulted) -> None:
    stack, vault = vaulted.stack, vaulted.vault
    vault.set("Sweden", stack.simulator.api_key, age_seconds=OLD)
    vault.set(BACKEND_SECRET, "a wrong one", age_seconds=OLD)
    await stack.backend("swedencentral", secret_name="Sweden")
    await stack.manage("PUT", "/manage/deployments/gpt-4o", {"backends": ["swedencentral"]})
    assert (await stack.chat())[0] == 200
    assert f"/secrets/{BACKEND_SECRET}/" not in vault.requests
    stored = await stack.manage("GET", "/manage/backends/swedencentral")
    assert stored["secret_name"] == "Sweden"


async def test_readiness_asks_a_backend_with_the_key_of_the_vault(vaulted: Vaulted) -> None:
    stack, vault = vaulted.stack, vaulted.vault
    assert (await stack.chat())[0] == 200
    vault.set(BACKEND_SECRET, "k2", age_seconds=OLD)
    stack.simulator.api_key = "k2"
    async with stack.session.get(f"{stack.url}/readyz") as response:
        assert (response.status, (await response.json())["checks"]["backends"]) == (200, "ok")


async def test_readiness_fails_if_no_key_is_right(vaulted: Vaulted) -> None:
    stack, vault = vaulted.stack, vaulted.vault
    vault.set(BACKEND_SECRET, "k2")
    stack.simulator.api_key = "k3"
    async with stack.session.get(f"{stack.url}/readyz") as response:
        assert (await response.json())["checks"]["backends"] == "failed"


async def test_the_management_key_is_rotated_with_an_overlap(vaulted: Vaulted) -> None:
    assert await vaulted.status(ADMIN_KEY) == 200
    vaulted.vault.set(ADMIN_SECRET, NEW_ADMIN_KEY)
    assert await vaulted.status(NEW_ADMIN_KEY) == 200  # at once, although the old one was held
    assert await vaulted.status(ADMIN_KEY) == 200
    assert await vaulted.status("x" * 40) == 401


async def test_a_key_that_was_replaced_long_ago_is_refused(vaulted: Vaulted) -> None:
    assert await vaulted.status(ADMIN_KEY) == 200
    vaulted.vault.set(ADMIN_SECRET, NEW_ADMIN_KEY, age_seconds=OLD)
    assert await vaulted.status(NEW_ADMIN_KEY) == 200
    assert await vaulted.status(ADMIN_KEY) == 401


async def test_guesses_do_not_flood_the_vault(vaulted: Vaulted) -> None:
    before = len(vaulted.vault.requests)
    for guess in range(9):
        assert await vaulted.status(f"{guess}" * 40) == 401
    assert len(vaulted.vault.requests) - before <= 1


@pytest.mark.parametrize("stack_settings", [{"AZURE_OPENAI_API_KEY": "test-simulator-key"}], indirect=True)
async def test_a_stated_key_goes_before_the_vault(vaulted: Vaulted) -> None:
    vaulted.vault.versions.pop(BACKEND_SECRET)
    assert (await vaulted.stack.chat())[0] == 200


async def test_a_caller_that_leaves_while_the_vault_is_asked_keeps_no_connection(vaulted: Vaulted) -> None:
    stack, vault = vaulted.stack, vaulted.vault

    async def refuse_without_end(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 9\r\n\r\n")
        await asyncio.Event().wait()

    async with scripted_backend(stack, refuse_without_end):
        gateway = await stack.gateway()
        upstream = gateway.inference.stored_responses._upstream
        assert isinstance(upstream, AiohttpUpstream)
        backend = await gateway.routing.catalog.backend("scripted")
        await upstream._keys.key(backend)
        vault.gate.clear()
        asked = len(vault.requests)
        sent = asyncio.create_task(upstream.send(backend, "POST", "/x", b"{}", {}))
        await eventually(lambda: len(vault.requests) > asked)
        sent.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sent
        connector = upstream._session.connector
        assert connector is not None
        assert not connector._acquired
        vault.gate.set()
