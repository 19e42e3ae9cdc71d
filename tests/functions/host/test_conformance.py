"""The local functions host and Microsoft's worker library on Python 3.13 pass the same black-box tests."""

from __future__ import annotations

import asyncio
import os
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from azure.core.credentials import AzureNamedKeyCredential
from azure.data.tables.aio import TableServiceClient
from openai import AsyncAzureOpenAI
from yarl import URL

from local.azurite_server import ACCOUNT
from local.setup.needs import CONFORMANCE
from shared.adapters.tables.documents import TableDocuments
from tests.functions.inference.test_sdk_operations import USES
from tests.tools.events import waiting
from tests.tools.raw_caller import unread
from tests.tools.scripted_backend import endless, scripted_backend
from tests.tools.stack import (
    ADMIN_KEY,
    API_VERSION,
    CHAIN_KEY,
    HOST_KEY,
    SIMULATOR_KEY,
    AzuriteAccount,
    Stack,
    await_port,
    configure,
    free_port,
    running_azurite,
    running_simulator,
)

ROOT = Path(__file__).resolve().parents[3]
PYTHON = CONFORMANCE.python
LOCAL_HOST, WORKER_LIBRARY = "local host", "worker library"
HOSTS = (LOCAL_HOST, WORKER_LIBRARY)


@pytest.fixture(scope="module")
def own_azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzuriteAccount]:
    """An Azurite for this module alone. Timers read everything stored, and other tests store other prices."""
    with running_azurite(tmp_path_factory.mktemp("azurite")) as account:
        yield account


@asynccontextmanager
async def running(name: str, settings: dict[str, str], folder: Path) -> AsyncIterator[tuple[str, Path]]:
    """Run a gateway process under a host. Yields its address and its log."""
    python, module = Path(sys.executable), "local.functions_host"
    if name == WORKER_LIBRARY:
        if not PYTHON.exists():
            if os.environ.get("CI"):
                pytest.fail("CI needs Python 3.13 for the conformance suite; run 'python -m local.setup conformance'.")
            pytest.skip("no Python 3.13 was found by 'python -m local.setup conformance'")
        python, module = PYTHON, "tests.tools.worker_host"
    port = free_port()
    environment = {
        **os.environ,
        "AUDIT_CHAIN_KEY": CHAIN_KEY,
        "ADMIN_API_KEY": ADMIN_KEY,
        "AZURE_OPENAI_API_KEY": SIMULATOR_KEY,
        "ALLOW_LOOPBACK_BACKENDS": "true",
        "TRUSTED_PROXY_HOPS": "1",
        "CLIENT_STALL_TIMEOUT_SECONDS": "2",
        "HOST_KEY": HOST_KEY,
        "TALLYGATE_PORT": str(port),
        "TALLYGATE_DATA": str(folder),
        **settings,
    }
    log = folder / f"{name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [python, "-m", module, str(port)], cwd=ROOT, env=environment, stdout=output, stderr=output
        )
    try:
        await asyncio.to_thread(await_port, port, process)
        yield f"http://127.0.0.1:{port}", log
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(params=HOSTS)
async def host(request: pytest.FixtureRequest, own_azurite: AzuriteAccount, tmp_path: Path) -> AsyncIterator[Stack]:
    """Run a gateway process under each host, with a simulator and a tenant. `extra["log"]` is the log's path."""
    async with (
        running(request.param, own_azurite.settings, tmp_path) as (url, log),
        running_simulator() as (simulator, simulator_url),
        aiohttp.ClientSession(headers={"x-functions-key": HOST_KEY}) as session,
    ):
        stack = Stack(url, simulator_url, simulator, session, tenant=f"t-{secrets.token_hex(6)}", extra={"log": log})
        await configure(stack)
        stack.key = await stack.register(stack.tenant)
        yield stack


async def test_a_chat_is_served_metered_and_booked(host: Stack) -> None:
    async with AsyncAzureOpenAI(azure_endpoint=host.url, api_key=host.key, api_version=API_VERSION) as client:
        answer = await client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "Hello!"}])
        stream = await client.chat.completions.create(
            model="gpt-4o", messages=[{"role": "user", "content": "Hello!"}], stream=True
        )
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
    assert text == answer.choices[0].message.content
    assert [entry["tokens"] for entry in await host.entries()] == [49, 49]


async def test_a_stream_is_not_buffered(host: Stack) -> None:
    await host.fault(kind="stall", after_chunks=3)
    body = {"messages": [{"role": "user", "content": "Hello!"}], "stream": True}
    async with host.session.post(host.chat_url, json=body, headers={"api-key": host.key}) as response:
        received = b""
        async with asyncio.timeout(60):
            while received.count(b"\n\n") < 3:
                received += await response.content.readany()
        assert (await host.requests())[0]["outcome"] == "stall"
        await host.release_faults()
        received += await response.read()
    assert received.endswith(b"data: [DONE]\n\n")


async def test_a_caller_that_hangs_up_is_booked(host: Stack) -> None:
    await host.manage("PATCH", f"/manage/tenants/{host.tenant}", {"on_disconnect": "cut"})
    await host.fault(kind="stall", after_chunks=6)
    body = {"messages": [{"role": "user", "content": "Hello!"}], "stream": True}
    async with host.session.post(host.chat_url, json=body, headers={"api-key": host.key}) as response:
        received = b""
        while received.count(b"\n\n") < 6:
            received += await response.content.readany()
        assert response.connection is not None
        assert response.connection.transport is not None
        response.connection.transport.abort()
    async with asyncio.timeout(60):
        while not (entries := await host.entries()):  # noqa: ASYNC110 - the other process raises no event
            await asyncio.sleep(0.02)
    assert (entries[0]["error_code"], entries[0]["estimated"]) == ("client_disconnected", True)


async def test_a_caller_that_never_reads_is_cut_and_booked(host: Stack) -> None:
    await host.manage("PATCH", f"/manage/tenants/{host.tenant}", {"on_disconnect": "cut"})
    async with scripted_backend(host, endless), unread(host), asyncio.timeout(60):
        while not (entries := await host.entries()):  # noqa: ASYNC110 - the other process raises no event
            await asyncio.sleep(0.02)
    assert (entries[0]["error_code"], entries[0]["kind"]) == ("client_stalled", "charge")


async def test_errors_keep_their_status_body_and_headers(host: Stack) -> None:
    status, headers, body = await host.chat(key="tg_nobody-00000000_x")
    assert (status, body["error"]["code"], headers["www-authenticate"]) == (401, "invalid_api_key", "Bearer")
    status, _, body = await host.chat("[filter-prompt]")
    assert (status, body["error"]["code"]) == (400, "content_filter")
    await host.manage("PATCH", f"/manage/tenants/{host.tenant}", {"monthly_quota_tokens": 0})
    status, headers, _ = await host.chat()
    assert (status, headers["x-should-retry"]) == (429, "false")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/healthz", 200),
        ("GET", "/HealthZ", 200),
        ("POST", "/healthz", 405),
        ("GET", "/nothing", 404),
        ("GET", "/openai/deployments/gpt-4o/chat/completions", 405),
        ("GET", "/reference/openapi.json", 200),
        ("GET", "/manage/tenants", 401),
    ],
)
async def test_routes_are_matched_alike(host: Stack, method: str, path: str, status: int) -> None:
    async with host.session.request(method, host.url + path) as response:
        assert response.status == status


async def test_a_chat_writes_no_line_of_its_libraries_into_the_log(host: Stack) -> None:
    before = len(host.extra["log"].read_text().splitlines())
    assert (await host.chat())[0] == 200
    assert (await host.usage())["requests"] == 1
    lines = host.extra["log"].read_text().splitlines()[before:]
    assert [line for line in lines if " INFO azure.functions: " not in line] == []


async def test_an_encoded_slash_stays_in_its_segment(host: Stack) -> None:
    url = URL(host.chat_url.replace("/gpt-4o/", "/a%2Fb%20c/"), encoded=True)
    body = {"messages": [{"role": "user", "content": "Hello!"}]}
    async with host.session.post(url, json=body, headers={"api-key": host.key}) as response:
        assert (response.status, (await response.json())["error"]["code"]) == (404, "DeploymentNotFound")
    await host.manage("PUT", "/manage/deployments/a%2Fb%20c", {"backends": ["se-gpt-4o"]})
    await host.manage("PATCH", f"/manage/tenants/{host.tenant}", {"deployments": ["a/b c"]})
    async with host.session.post(url, json=body, headers={"api-key": host.key}) as response:
        assert response.status == 200


@pytest.mark.parametrize(
    "use", ["embeddings", "images", "streamed transcriptions", "speech", "responses", "streamed responses"]
)
async def test_bodies_of_every_kind_reach_the_gateway_unchanged(host: Stack, use: str) -> None:
    async with AsyncAzureOpenAI(azure_endpoint=host.url, api_key=host.key, api_version=API_VERSION) as client:
        assert await USES[use](client)
    (entry,) = await host.entries()
    assert (entry["kind"], entry["error_code"]) == ("charge", "")


async def test_the_source_is_the_one_that_the_last_proxy_saw(host: Stack, own_azurite: AzuriteAccount) -> None:
    for forwarded in ("6.6.6.6, 198.51.100.7:51234", "[2001:db8::7]:443", "6.6.6.6, forged"):
        await host.manage("POST", f"/manage/tenants/{host.tenant}/keys", {}, x_forwarded_for=forwarded)
    credential = AzureNamedKeyCredential(ACCOUNT, own_azurite.key)
    async with TableServiceClient(own_azurite.table_endpoint, credential=credential) as service:
        events = await waiting(TableDocuments(service))
    created = [each for each in events if each["action"] == "key.create" and host.tenant in each["target"]]
    assert [each["source_address"] for each in created] == ["", "198.51.100.7", "2001:db8::7", ""]


async def test_timers_are_started_by_hand(host: Stack) -> None:
    for name, status in (("reset_monthly_quotas", 202), ("expire_reservations", 202), ("nothing", 404)):
        async with host.session.post(f"{host.url}/admin/functions/{name}", json={}) as response:
            assert response.status == status
    async with aiohttp.ClientSession() as stranger:
        async with stranger.post(f"{host.url}/admin/functions/reset_monthly_quotas", json={}) as response:
            assert response.status == 401
