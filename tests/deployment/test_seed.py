"""The hook after a deployment, over the real gateway on Azurite and the simulated Azure OpenAI."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from infra.hooks.price_rows import PRICES, price_rows
from shared.http.management.price_model import PriceInsertion
from tests.tools.fake_azure import FakeAzure
from tests.tools.stack import ADMIN_KEY, REGIONS, AzuriteAccount, Stack, bare_stack, free_port, running_azurite

ROOT = Path(__file__).resolve().parents[2]
TENANT = "first-team"


@pytest.fixture
async def new_gateway(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Stack]:
    """A gateway on an empty account, with nothing configured."""
    with running_azurite(tmp_path) as account:
        async with _gateway(monkeypatch, tmp_path, account) as stack:
            yield stack


def _gateway(monkeypatch: pytest.MonkeyPatch, folder: Path, account: AzuriteAccount) -> Any:
    # a simulator is no resource of Azure: the hook's backends ask for the identity, which has no token here
    return bare_stack(monkeypatch, folder, {**account.settings, "USE_MANAGED_IDENTITY": "false"})


@pytest.fixture
def azure(tmp_path: Path) -> FakeAzure:
    made = FakeAzure.make(tmp_path / "azure")
    made.change(secrets={"tallygate-admin-key": ADMIN_KEY})
    return made


def backends(stack: Stack, *models: str, sku: str = "GlobalStandard") -> str:
    """Return the template's output: each model in two regions."""
    found = [
        {"id": f"{region}-{model}", "endpoint": f"{stack.simulator_url}/{region}", "region": region, "sku": sku,
         "deployment": model, "model": model, "version": "2024-11-20"}
        for region in list(REGIONS)[:2]
        for model in models
    ]  # fmt: skip
    return json.dumps(found)


async def run(azure: FakeAzure, url: str, output: str, **variables: str) -> tuple[int, str, str]:
    environment = azure.environment(**{"GATEWAY_URL": url, "AZURE_OPENAI_BACKENDS": output, **variables})
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-B", "-m", "infra.hooks", "postdeploy",
        cwd=ROOT, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    printed, said = await process.communicate()
    assert process.returncode is not None
    assert b"Traceback" not in said, said.decode()
    return process.returncode, printed.decode(), said.decode()


async def configuration(stack: Stack) -> dict[str, Any]:
    """Return all that can be configured, without what changes by itself."""
    found = {}
    for kind in ("backends", "deployments", "prices", "tenants"):
        found[kind] = (await stack.manage("GET", f"/manage/{kind}"))["data"]
    for each in found["backends"]:
        del each["health"]
    return found


async def events(stack: Stack) -> int:
    """Return the number of changes that the audit log knows of, or will."""
    return len((await stack.manage("GET", "/manage/audit?limit=500"))["data"])


async def test_a_new_gateway_is_configured_and_answers_the_printed_call(new_gateway: Stack, azure: FakeAzure) -> None:
    stack = new_gateway
    status, printed, said = await run(azure, stack.url, backends(stack, "gpt-4o", "gpt-4o-mini"))
    assert (status, said) == (0, "")
    made = await configuration(stack)
    assert len(made["backends"]) == 4
    assert {each["name"]: each["backends"] for each in made["deployments"]} == {
        model: [f"swedencentral-{model}", f"germanywestcentral-{model}"] for model in ("gpt-4o", "gpt-4o-mini")
    }
    assert {each["model"] for each in made["prices"]} == {"gpt-4o", "gpt-4o-mini"}
    (tenant,) = made["tenants"]
    assert (tenant["tenant_id"], tenant["monthly_budget_usd"]) == (TENANT, "25.00")
    assert sorted(tenant["deployments"]) == ["gpt-4o", "gpt-4o-mini"]
    await _use_simulator_key(stack)
    commands = printed[printed.index("  ADMIN=") :]
    shell = await asyncio.create_subprocess_exec(
        "bash", "-euc", commands, env=azure.environment(), stdout=asyncio.subprocess.PIPE
    )
    answer, _ = await shell.communicate()
    assert answer.startswith(b"HTTP/1.1 200"), answer.decode()
    assert ADMIN_KEY not in printed


async def _use_simulator_key(stack: Stack) -> None:
    for each in (await stack.manage("GET", "/manage/backends"))["data"]:
        definition = {name: value for name, value in each.items() if name not in ("backend_id", "health")}
        await stack.manage("PUT", f"/manage/backends/{each['backend_id']}", {**definition, "auth": "api_key"})


async def test_a_second_run_changes_nothing_and_keeps_what_people_changed(new_gateway: Stack, azure: FakeAzure) -> None:
    stack = new_gateway
    output = backends(stack, "gpt-4o")
    await run(azure, stack.url, output)
    await _use_simulator_key(stack)
    await stack.manage("PATCH", f"/manage/tenants/{TENANT}", {"monthly_budget_usd": "7"})
    await stack.manage("PUT", "/manage/deployments/gpt-4o", {"backends": ["swedencentral-gpt-4o"]})
    before = await configuration(stack)
    status, printed, _ = await run(azure, stack.url, output)
    assert (status, await configuration(stack)) == (0, before)
    assert "Created" not in printed
    assert "pool of the deployment gpt-4o lacks germanywestcentral-gpt-4o" in printed


async def test_a_run_that_ends_at_any_request_is_completed_by_the_next(new_gateway: Stack, azure: FakeAzure) -> None:
    stack = new_gateway
    output = backends(stack, "gpt-4o", "text-embedding-3-small")
    async with _breaking_proxy(stack) as (url, allow):
        passed, ended = 0, 1
        while ended:
            passed += 1
            allow(passed)
            ended, _, said = await run(azure, url, output, READY_SECONDS="0")
            assert bool(ended) == ("was answered 503" in said)
    made = await configuration(stack)
    assert [len(made[kind]) for kind in ("backends", "deployments", "tenants")] == [4, 2, 1]
    assert [row["meter"] for row in made["prices"] if row["model"] == "gpt-4o"] == ["cached_input", "input", "output"]
    assert passed > 8


def _breaking_proxy(stack: Stack) -> Any:
    """A proxy that passes some requests, and answers 503 from then on."""

    @asynccontextmanager
    async def running() -> AsyncIterator[tuple[str, Any]]:
        left = 0

        async def handle(request: web.Request) -> web.Response:
            nonlocal left
            if request.path != "/readyz" and (left := left - 1) < 0:
                return web.Response(status=503, text="stopped")
            headers = {name: request.headers[name] for name in ("api-key", "content-type") if name in request.headers}
            async with stack.session.request(
                request.method, stack.url + request.raw_path, data=await request.read(), headers=headers
            ) as answer:
                return web.Response(status=answer.status, body=await answer.read())

        def allow(requests: int) -> None:
            nonlocal left
            left = requests

        application = web.Application()
        application.router.add_route("*", "/{path:.*}", handle)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            yield f"http://127.0.0.1:{port}", allow
        finally:
            await runner.cleanup()

    return running()


async def test_a_model_without_a_price_is_named(new_gateway: Stack, azure: FakeAzure) -> None:
    _, printed, _ = await run(azure, new_gateway.url, backends(new_gateway, "tts-hd"))
    assert "The model tts-hd HAS NO PRICE" in printed
    assert (await configuration(new_gateway))["prices"] == []


async def test_prices_that_somebody_entered_are_not_joined_by_list_prices(new_gateway: Stack, azure: FakeAzure) -> None:
    row = {"model": "gpt-4o", "meter": "input", "usd_per_million": "9", "effective_from": "2025-01-01T00:00:00Z"}
    await new_gateway.manage("POST", "/manage/prices", {**row, "source": "our contract"})
    await run(azure, new_gateway.url, backends(new_gateway, "gpt-4o", sku="DataZoneStandard"))
    assert [each["source"] for each in (await configuration(new_gateway))["prices"]] == ["our contract"]


async def test_a_spillover_is_stated_and_priced(new_gateway: Stack, azure: FakeAzure) -> None:
    (backend, *_) = json.loads(backends(new_gateway, "gpt-4o", sku="ProvisionedManaged"))
    spillover = {"deployment": "gpt-4o-more", "sku": "DataZoneStandard", "model": "gpt-4o", "model_version": "1"}
    output = json.dumps([{**backend, "spillover_deployment": spillover}])
    status, _, said = await run(azure, new_gateway.url, output)
    assert (status, said) == (0, "")
    made = await configuration(new_gateway)
    assert made["backends"][0]["spillover_deployment"]["deployment"] == "gpt-4o-more"
    assert {each["sku"] for each in made["prices"]} == {None, "DataZoneStandard"}


async def test_a_private_gateway_out_of_reach_leaves_a_command_for_inside(azure: FakeAzure) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    status, printed, said = await run(azure, url, "[]", GATEWAY_IS_PRIVATE="true", READY_SECONDS="0")
    assert (status, said) == (0, "")
    assert "azd hooks run postdeploy --environment trial" in printed
    assert ".azure/trial" in printed
    assert "azd hooks run postdeploy" in printed


async def test_a_public_gateway_out_of_reach_is_an_error(azure: FakeAzure) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    status, _, said = await run(azure, url, "[]", READY_SECONDS="0")
    assert (status, "cannot be reached from here" in said) == (1, True)


@pytest.mark.parametrize("output", ["{", "7", '[{"id": "x"}]', '["x"]'])
async def test_an_output_that_is_no_list_of_backends_is_refused(
    new_gateway: Stack, azure: FakeAzure, output: str
) -> None:
    status, _, said = await run(azure, new_gateway.url, output)
    assert (status, "AZURE_OPENAI_BACKENDS" in said) == (1, True)


async def test_a_key_that_the_gateway_does_not_know_is_told_and_not_shown(new_gateway: Stack, azure: FakeAzure) -> None:
    azure.change(secrets={"tallygate-admin-key": "another-key-another-key-another-key"})
    status, printed, said = await run(azure, new_gateway.url, "[]")
    assert (status, "was answered 401" in said) == (1, True)
    assert "another-key" not in printed + said


async def test_where_the_vault_is_closed_the_access_token_of_the_person_is_used(azure: FakeAzure) -> None:
    azure.change(denied=["keyvault secret show"], token="token-of-ann")
    seen: list[tuple[str, str | None]] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append((request.path, request.headers.get("authorization")))
        if request.path == "/readyz":
            return web.json_response({"status": "degraded", "checks": {"ledger": True, "backends": False}}, status=503)
        return web.json_response({"data": []})

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    output = json.dumps(
        [{"id": "x", "model": "gpt-4o", "deployment": "d", "sku": "Standard", "endpoint": "e", "region": "r"}]
    )
    status, printed, _ = await run(azure, f"http://127.0.0.1:{port}", output, ENTRA_CLIENT_ID="app")
    await runner.cleanup()
    assert status == 0
    assert {token for path, token in seen if path.startswith("/manage")} == {"Bearer token-of-ann"}
    command = "az account get-access-token --scope api://app/.default --query accessToken"
    assert command in " ".join(azure.commands)
    assert f'echo "authorization: Bearer $({command} --output tsv)" > "$ADMIN"' in printed
    assert "token-of-ann" not in printed


async def test_a_token_without_the_role_gives_way_to_the_administrators_key(
    new_gateway: Stack, azure: FakeAzure
) -> None:
    azure.change(token="token-of-ann")
    status, printed, _ = await run(azure, new_gateway.url, backends(new_gateway, "gpt-4o"), ENTRA_CLIENT_ID="app")
    assert (status, 'echo "api-key: $(az keyvault secret show' in printed) == (0, True)


async def test_a_pipeline_that_may_not_administer_deploys_all_the_same(new_gateway: Stack, azure: FakeAzure) -> None:
    azure.change(user_type="servicePrincipal", denied=["keyvault secret show"])
    status, printed, _ = await run(azure, new_gateway.url, backends(new_gateway, "gpt-4o"))
    assert (status, "Nothing was configured" in printed) == (0, True)
    assert (await configuration(new_gateway))["backends"] == []


async def test_without_a_key_and_without_entra_the_vault_is_named(new_gateway: Stack, azure: FakeAzure) -> None:
    azure.change(secrets={})
    status, _, said = await run(azure, new_gateway.url, "[]")
    assert (status, "SecretNotFound" in said) == (1, True)


def test_list_prices_are_valid_rows_of_the_price_book() -> None:
    for model in json.loads(PRICES.read_text())["usd_per_million"]:
        rows = price_rows(model, ["Standard", "GlobalStandard"])
        assert [PriceInsertion.model_validate(row).model for row in rows] == [model] * len(rows)
        assert {row.get("sku") for row in rows} == {None, "Standard"}


async def test_the_price_of_a_regional_deployment_is_a_tenth_higher(new_gateway: Stack, azure: FakeAzure) -> None:
    await run(azure, new_gateway.url, backends(new_gateway, "gpt-4o", sku="Standard"))
    rows = (await configuration(new_gateway))["prices"]
    found = {(each["meter"], each["sku"]): each["usd_per_million"] for each in rows}
    assert (found["input", None], found["input", "Standard"]) == ("2.50", "2.75")


async def test_the_hook_waits_for_a_gateway_that_starts_late(azure: FakeAzure) -> None:
    answers = [web.Response(status=502, text="starting"), web.json_response({"status": "ready"})]
    asked = 0

    async def handle(request: web.Request) -> web.Response:
        nonlocal asked
        if request.path == "/readyz":
            asked += 1
            return answers.pop(0)
        return web.json_response({"data": []})

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    status, _, _ = await run(azure, f"http://127.0.0.1:{port}", "[]")
    await runner.cleanup()
    assert (status, asked) == (0, 2)


async def test_a_redirect_to_another_host_does_not_get_the_credential(azure: FakeAzure) -> None:
    seen: list[str] = []

    async def elsewhere(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.json_response({"data": []})

    async with _serving(elsewhere) as other:

        async def handle(request: web.Request) -> web.Response:
            return (
                web.json_response({})
                if request.path == "/readyz"
                else web.Response(status=307, headers={"location": other + request.path})
            )

        async with _serving(handle) as url:
            status, _, said = await run(azure, url, "[]")
    assert (status, seen, "was answered 307" in said) == (1, [], True)


async def test_something_else_than_the_gateway_is_told(azure: FakeAzure) -> None:
    async def handle(_request: web.Request) -> web.Response:
        return web.Response(text="<html>Your function app is up and running</html>")

    async with _serving(handle) as url:
        status, _, said = await run(azure, url, "[]")
    assert (status, "something else than the gateway" in said) == (1, True)


@asynccontextmanager
async def _serving(handle: Callable[[web.Request], Awaitable[web.Response]]) -> AsyncIterator[str]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()
