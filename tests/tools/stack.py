"""Start the parts of a gateway for a test. The gateway runs in this process, so that coverage sees it."""

from __future__ import annotations

import asyncio
import secrets
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvicorn
from aiohttp import web

from local.azurite_server import ACCOUNT, AzuritePorts, new_account_key, start_azurite
from local.functions_host.indexing import HttpFunction, TimerFunction, index, load_app
from local.functions_host.server import FunctionsHost
from local.functions_host.timers import Timers
from local.simulator.server import Pace, Simulator
from shared.composition.gateway import Gateway
from shared.composition.process import close_current_gateway, current_gateway
from shared.domain.routing.residency import Residency
from tests.tools.events import told

ADMIN_KEY = "test-admin-key-test-admin-key-test"
CHAIN_KEY = "test-chain-key-test-chain-key-test"
PRIVACY_KEY = "test-privacy-key-test-privacy-key"
SIMULATOR_KEY = "test-simulator-key"
HOST_KEY = "test-host-key"
API_VERSION = "2024-10-21"
_PORTS = range(12_000, 32_000)
_TOKENS = {"input": "2.50", "cached_input": "1.25", "output": "10.00"}
PRICES: dict[str, dict[str, str]] = {
    "gpt-4o": _TOKENS,
    "gpt-4o-mini": _TOKENS,
    "o4-mini": _TOKENS,
    "gpt-35-turbo-instruct": {"input": "1.50", "output": "2.00"},
    "text-embedding-3-small": {"input": "0.02"},
    "dall-e-3": {"images": "40000", "images hd 1024x1792": "120000"},
    "gpt-image-1": {"input": "5.00", "output": "40.00"},
    "whisper": {"audio_seconds": "100"},
    "gpt-4o-transcribe": {"input": "2.50", "audio_input": "6.00", "output": "10.00"},
    "tts-hd": {"speech_characters": "30"},
    "gpt-4o-mini-tts": {"input": "0.60", "output": "12.00"},
}
MODELS = tuple(PRICES)
REGIONS = {
    "swedencentral": "eu", "germanywestcentral": "eu", "francecentral": "eu", "eastus": "us", "japaneast": ""
}  # fmt: skip
"""The regions of the simulator, with their data zones."""


@dataclass(frozen=True, slots=True)
class AzuriteAccount:
    """The endpoints and the account key of a running Azurite."""

    table_endpoint: str
    blob_endpoint: str
    key: str

    @property
    def settings(self) -> dict[str, str]:
        return {
            "TALLYGATE_TABLE_ENDPOINT": self.table_endpoint,
            "TALLYGATE_BLOB_ENDPOINT": self.blob_endpoint,
            "TALLYGATE_STORAGE_ACCOUNT_NAME": ACCOUNT,
            "TALLYGATE_STORAGE_ACCOUNT_KEY": self.key,
        }


@contextmanager
def running_azurite(folder: Path, *extra: str, scheme: str = "http") -> Iterator[AzuriteAccount]:
    """Run an Azurite in memory."""
    ports = AzuritePorts(free_port(), free_port(), free_port())
    key = new_account_key()
    process = start_azurite(ports, key, None, folder / "azurite.log", *extra)
    try:
        await_port(ports.table, process)
        await_port(ports.blob, process)
        yield AzuriteAccount(
            f"{scheme}://127.0.0.1:{ports.table}/{ACCOUNT}", f"{scheme}://127.0.0.1:{ports.blob}/{ACCOUNT}", key
        )
    finally:
        process.terminate()
        process.wait()


@dataclass(slots=True)
class Stack:
    """A gateway and a simulator, and the calls that tests make."""

    url: str
    simulator_url: str
    simulator: Simulator
    session: aiohttp.ClientSession
    tenant: str = "acme"
    key: str = ""
    server: uvicorn.Server | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def chat_url(self) -> str:
        return f"{self.url}/openai/deployments/gpt-4o/chat/completions?api-version={API_VERSION}"

    async def gateway(self) -> Gateway:
        return await current_gateway()

    async def manage(
        self, method: str, path: str, body: Any = None, *, status: int | None = None, **headers: str
    ) -> Any:
        """Call the management API as administrator. Returns the answer's JSON. Fails for another status."""
        sent = {"api-key": ADMIN_KEY, **{name.replace("_", "-"): value for name, value in headers.items()}}
        async with self.session.request(method, f"{self.url}{path}", json=body, headers=sent) as response:
            answer = await response.json() if response.status != 204 else None
            allowed = (status,) if status else (200, 201, 204)
            assert response.status in allowed, (response.status, answer)
            return answer

    async def chat(
        self,
        text: str = "Hello!",
        *,
        key: str | None = None,
        url: str | None = None,
        headers: Mapping[str, str] | None = None,
        **fields: Any,
    ) -> tuple[int, dict[str, str], Any]:
        """Send one chat completion. Returns status, headers and body (JSON, or the bytes of a stream)."""
        body = {"messages": [{"role": "user", "content": text}], **fields}
        sent = {"api-key": self.key if key is None else key, **(headers or {})}
        async with self.session.post(url or self.chat_url, json=body, headers=sent) as response:
            is_stream = response.headers.get("content-type", "").startswith("text/event-stream")
            answer: Any = await response.read() if is_stream else await response.json()
            return response.status, {name.lower(): value for name, value in response.headers.items()}, answer

    async def infer(
        self, operation: str, model: str, body: Any = None, *, form: aiohttp.FormData | None = None, dated: bool = True
    ) -> tuple[int, dict[str, str], bytes]:
        """Send one request of any operation. Returns status, headers and body.

        Without `dated`, the v1 path is used, and the body names the model.
        """
        url = f"{self.url}/openai/v1/{operation}"
        if dated:
            url = f"{self.url}/openai/deployments/{model}/{operation}?api-version={API_VERSION}"
        headers = {"api-key": self.key}
        if form is None:
            async with self.session.post(url, json=body if dated else {"model": model, **body}, headers=headers) as got:
                return got.status, {name.lower(): value for name, value in got.headers.items()}, await got.read()
        async with self.session.post(url, data=form, headers=headers) as got:
            return got.status, {name.lower(): value for name, value in got.headers.items()}, await got.read()

    async def entries(self, tenant: str | None = None) -> list[dict[str, Any]]:
        """Return the tenant's latest 500 entries of the current period, oldest first."""
        answer = await self.manage("GET", f"/manage/tenants/{tenant or self.tenant}/entries?limit=500")
        return list(reversed(answer["data"]))

    async def every_entry(self, tenant: str | None = None) -> list[dict[str, Any]]:
        """Return all entries of the tenant in the current period, newest first."""
        entries: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = await self.manage("GET", f"/manage/tenants/{tenant or self.tenant}/entries?limit=500{cursor}")
            entries += page["data"]
            if page["next_cursor"] is None:
                return entries
            cursor = f"&cursor={page['next_cursor']}"

    async def usage(self, tenant: str | None = None) -> dict[str, Any]:
        answer: dict[str, Any] = await self.manage("GET", f"/manage/tenants/{tenant or self.tenant}/usage")
        return answer

    async def pool(self, *regions: str, deployment: str = "gpt-4o", **fields: Any) -> None:
        """Serve a deployment by a backend in each of these regions. `fields` are further fields of the deployment."""
        for region in regions:
            await self.backend(region)
        await self.manage("PUT", f"/manage/deployments/{deployment}", {"backends": list(regions), **fields})

    async def backend(self, region: str, name: str = "", **fields: Any) -> None:
        """Put a backend of gpt-4o in a region. Its name is by default the region's."""
        definition = {
            "endpoint": f"{self.simulator_url}/{region}", "upstream_deployment": "gpt-4o", "model": "gpt-4o",
            "region": region, "auth": "api_key",
        }  # fmt: skip
        await self.manage("PUT", f"/manage/backends/{name or region}", {**definition, **fields})

    async def health(self) -> dict[str, dict[str, Any]]:
        """Return the health of each backend, by name."""
        answer = await self.manage("GET", "/manage/backends")
        return {each["backend_id"]: each["health"] for each in answer["data"]}

    async def set_residency(self, *zones: str) -> None:
        """Set a residency in which the tenant has no backend.

        The management API refuses that, but two simultaneous changes can have this result.
        """
        await self._change_tenant(residency=Residency(zones, allow_global=False))

    async def set_deployments(self, *names: str) -> None:
        """Set deployments of which some may not exist: tenants of older versions may name such."""
        await self._change_tenant(deployments=names)

    async def _change_tenant(self, **fields: Any) -> None:
        """Change the tenant past the management API."""
        gateway = await current_gateway()
        tenant = (await gateway.tenancy.tenants.get(self.tenant)).value
        await gateway.tenancy.tenants._tenants.replace(replace(tenant, **fields), "*", told())
        gateway.tenancy.authenticate.forget(self.tenant)

    async def settled(self) -> None:
        """Wait until all background work and all commits have ended."""
        gateway = await current_gateway()
        await gateway.background.drain()
        await gateway.ledger.books.drain()

    async def fault(self, **fault: Any) -> None:
        async with self.session.post(f"{self.simulator_url}/_sim/faults", json=fault) as response:
            assert response.status == 204, await response.text()

    async def release_faults(self) -> None:
        await self.session.delete(f"{self.simulator_url}/_sim/faults")

    async def requests(self) -> list[dict[str, Any]]:
        """Return the simulator's records of all requests."""
        async with self.session.get(f"{self.simulator_url}/_sim/requests") as response:
            seen: list[dict[str, Any]] = await response.json()
            return seen

    async def register(self, tenant: str, **fields: Any) -> str:
        """Register a tenant. Returns a key of it."""
        await self.manage("POST", "/manage/tenants", {"tenant_id": tenant, "deployments": list(MODELS), **fields})
        created = await self.manage("POST", f"/manage/tenants/{tenant}/keys", {})
        return str(created["key"])


@asynccontextmanager
async def running_stack(
    monkeypatch: pytest.MonkeyPatch, folder: Path, settings: dict[str, str]
) -> AsyncIterator[Stack]:
    """Run a gateway with these settings, a configuration for every model, and a tenant."""
    async with bare_stack(monkeypatch, folder, settings) as stack:
        await configure(stack)
        stack.key = await stack.register(stack.tenant, name="Acme", cost_center="CC-1")
        yield stack


@asynccontextmanager
async def bare_stack(monkeypatch: pytest.MonkeyPatch, folder: Path, settings: dict[str, str]) -> AsyncIterator[Stack]:
    """Run a gateway with these settings, and nothing configured. The first request reads them."""
    environment = {
        "AUDIT_CHAIN_KEY": CHAIN_KEY,
        "ADMIN_API_KEY": ADMIN_KEY,
        "PRIVACY_KEY": PRIVACY_KEY,
        "AZURE_OPENAI_API_KEY": SIMULATOR_KEY,
        "ALLOW_LOOPBACK_BACKENDS": "true",
        "DRAIN_TIMEOUT_SECONDS": "20",
        **settings,
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    async with running_simulator() as (simulator, simulator_url), running_host(folder) as url:
        async with aiohttp.ClientSession(headers={"x-functions-key": HOST_KEY}) as session:
            yield Stack(url, simulator_url, simulator, session, tenant=f"t-{secrets.token_hex(6)}")


async def configure(stack: Stack) -> None:
    """Put backends, deployments and prices for every model of the simulator."""
    for model in MODELS:
        backend = {"endpoint": f"{stack.simulator_url}/swedencentral", "upstream_deployment": model, "model": model}
        definition = {**backend, "region": "swedencentral", "zone": "eu", "auth": "api_key"}
        await stack.manage("PUT", f"/manage/backends/se-{model}", definition)
        await stack.manage("PUT", f"/manage/deployments/{model}", {"backends": [f"se-{model}"]})
        for meter_and_variant, price in PRICES[model].items():
            meter, _, variant = meter_and_variant.partition(" ")
            row = {"model": model, "meter": meter, "usd_per_million": price, "effective_from": "2024-01-01T00:00:00Z"}
            await stack.manage("POST", "/manage/prices", row | ({"variant": variant} if variant else {}))


@asynccontextmanager
async def running_simulator() -> AsyncIterator[tuple[Simulator, str]]:
    simulator = Simulator(
        tuple(REGIONS), {model: model for model in MODELS} | {"a/b c#d": "gpt-4o"}, SIMULATOR_KEY, Pace()
    )
    runner = web.AppRunner(simulator.application(), handler_cancellation=True, shutdown_timeout=1, access_log=None)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield simulator, f"http://127.0.0.1:{port}"
    finally:
        simulator.faults.clear()
        await runner.cleanup()


@asynccontextmanager
async def running_host(folder: Path) -> AsyncIterator[str]:
    """Run the functions host with this process's gateway, on a port of its own."""
    http, timers = indexed_functions()
    host = FunctionsHost(http, TimersByHand(timers, folder / "timers"), HOST_KEY, close_current_gateway)
    port = free_port()
    config = uvicorn.Config(
        host,
        port=port,
        http="httptools",
        access_log=False,
        log_level="error",
        timeout_graceful_shutdown=5,
        timeout_keep_alive=60,
    )
    server = _Server(config)
    served = asyncio.create_task(server._serve())
    await server.is_listening.wait()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await served


class TimersByHand(Timers):
    """Timers that only tests start. A schedule would run one in the middle of a test, once a minute."""

    async def run(self) -> None:
        await asyncio.Event().wait()


class _Server(uvicorn.Server):
    """A server that sets an event when it listens, and leaves signals to pytest."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_listening = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_listening.set()


@cache
def indexed_functions() -> tuple[list[HttpFunction], list[TimerFunction]]:
    """Return all functions of the app. They are cached, because an app lists them only once."""
    return index(load_app("function_app"), "")


def free_port() -> int:
    """Return a port for a server that starts a little later.

    It lies below the ports that the system gives to others, so that no other server takes it meanwhile.
    """
    while True:
        port = secrets.choice(_PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def await_port(port: int, process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args!r} ended with {process.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise TimeoutError(f"nothing listens on {port}")


async def eventually(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Wait for a condition for which there is no event. Raises `TimeoutError`."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - there is no event to await
            await asyncio.sleep(0.002)
