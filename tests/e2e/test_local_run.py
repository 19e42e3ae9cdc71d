"""`make run` in real processes: ports, restarts, further gateways, and a gateway killed under load."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from azure.storage.blob.aio import BlobServiceClient

from local.azurite_server import ACCOUNT
from local.ready import ready_block
from tests.tools.stack import API_VERSION, await_port, free_port, running_simulator

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
START_SECONDS = 240


class Run:
    """Runs `python -m local.run` over a data folder."""

    def __init__(self, data: Path, **settings: str) -> None:
        self.data = data
        self.settings = settings
        self.process: subprocess.Popen[str] | None = None
        self.output = ""

    def start(self, *prefix: str) -> dict[str, Any]:
        environment = {
            **os.environ,
            "TALLYGATE_DATA": str(self.data),
            "TALLYGATE_PORT": str(free_port()),
            "TALLYGATE_ENV_FILE": str(self.data / "none"),  # not that of the developer
            **self.settings,
        }
        self.process = subprocess.Popen(
            [*prefix, sys.executable, "-m", "local.run"],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + START_SECONDS
        while not (self.data / "run.json").exists():
            assert self.process.poll() is None, self.process.communicate()[0]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        document: dict[str, Any] = json.loads((self.data / "run.json").read_text())
        return document

    def stop(self, sent: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(sent)
        self.output = self.process.communicate(timeout=120)[0]
        return self.process.returncode


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    made = Run(tmp_path / "data")
    yield made
    if made.process is not None and made.process.poll() is None:
        made.stop()


class Api:
    """Management and chat over HTTP."""

    def __init__(self, session: aiohttp.ClientSession, document: dict[str, Any]) -> None:
        self.session = session
        self.document = document

    async def manage(self, method: str, path: str, body: Any = None) -> Any:
        headers = {"api-key": self.document["admin_key"]}
        async with self.session.request(method, self.document["url"] + path, json=body, headers=headers) as response:
            assert response.status < 300, await response.text()
            return await response.json()

    async def chat(self, url: str, key: str, text: str, **fields: Any) -> tuple[int, str]:
        """Chat once. Returns the status and the gateway request id; 0 if the connection broke."""
        target = f"{url}/openai/deployments/gpt-4o/chat/completions?api-version={API_VERSION}"
        body = {"messages": [{"role": "user", "content": text}], "max_tokens": 10, **fields}
        try:
            async with self.session.post(target, json=body, headers={"api-key": key}) as response:
                answer = await response.read()
                complete = not fields.get("stream") or answer.endswith(b"data: [DONE]\n\n") or response.status != 200
                return response.status if complete else 0, response.headers.get("x-gateway-request-id", "")
        except aiohttp.ClientError:
            return 0, ""

    async def region(self) -> str:
        """Return the region that serves a chat of the demo tenant."""
        target = f"{self.document['url']}/openai/v1/chat/completions"
        body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello!"}]}
        async with self.session.post(target, json=body, headers={"api-key": self.document["tenant_key"]}) as response:
            assert response.status == 200, await response.text()
            return response.headers["x-gateway-region"]

    async def simulator(self) -> list[dict[str, Any]]:
        async with self.session.get(f"{self.document['simulator_url']}/_sim/requests") as response:
            seen: list[dict[str, Any]] = await response.json()
            return seen

    async def entries(self, tenant: str, period: str = "") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        cursor = ""
        while True:
            query = f"limit=500&cursor={cursor}" + (f"&period={period}" if period else "")
            page = await self.manage("GET", f"/manage/tenants/{tenant}/entries?{query}")
            found += page["data"]
            cursor = page["next_cursor"]
            if cursor is None:
                return found

    async def tenant(self, name: str, **fields: Any) -> str:
        await self.manage("POST", "/manage/tenants", {"tenant_id": name, "deployments": ["gpt-4o"], **fields})
        return str((await self.manage("POST", f"/manage/tenants/{name}/keys", {}))["key"])


def further_gateway(document: dict[str, Any]) -> tuple[subprocess.Popen[bytes], str]:
    """Start a second gateway process over the same storage, as run.json describes it."""
    port = free_port()
    environment = {**os.environ, **document["gateway_env"], "TALLYGATE_PORT": str(port)}
    process = subprocess.Popen(document["gateway_command"], env=environment, stderr=subprocess.DEVNULL)
    await_port(port, process)
    return process, f"http://127.0.0.1:{port}"


async def anchor_at(session: aiohttp.ClientSession, document: dict[str, Any], *urls: str) -> None:
    """Start the timer of anchors in several gateways at the same time, and wait until the log has a leaf."""
    headers = {"x-functions-key": document["host_key"]}
    started = (_start(session, f"{url}/admin/functions/anchor_audit", headers) for url in urls)
    assert set(await asyncio.gather(*started)) == {202}
    environment = document["gateway_env"]
    key = {"account_name": ACCOUNT, "account_key": environment["TALLYGATE_STORAGE_ACCOUNT_KEY"]}
    async with BlobServiceClient(environment["TALLYGATE_BLOB_ENDPOINT"], credential=key) as service:
        checkpoint = service.get_blob_client("anchors", "checkpoint/0000000001")
        async with asyncio.timeout(60):
            while not await checkpoint.exists():  # noqa: ASYNC110 - there is no event to await
                await asyncio.sleep(0.05)


async def _start(session: aiohttp.ClientSession, url: str, headers: dict[str, str]) -> int:
    async with session.post(url, json={}, headers=headers) as response:
        return response.status


def verify(document: dict[str, Any], period: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **document["gateway_env"]}
    command = [sys.executable, "-m", "shared.cli", "verify", "--period", period]
    return subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)


async def test_it_serves_keeps_its_state_and_ends_its_processes(run: Run) -> None:
    first = run.start()
    assert set(first) == {
        "url",
        "admin_key",
        "host_key",
        "tenant_id",
        "tenant_key",
        "simulator_url",
        "deployment",
        "table_endpoint",
        "pids",
        "gateway_command",
        "gateway_env",
    }
    async with aiohttp.ClientSession() as session:
        api = Api(session, first)
        assert (await api.chat(first["url"], first["tenant_key"], "Hello!"))[0] == 200
        before = await api.entries("demo")
    assert run.stop() == 0
    assert "Try it:" in run.output
    named = (first["tenant_key"], first["admin_key"], "/reference", "/me/usage", "make verify", "/_sim/faults")
    assert [each for each in named if each not in run.output] == []
    for pid in first["pids"].values():
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    second = run.start()
    assert (second["tenant_key"], second["admin_key"]) == (first["tenant_key"], first["admin_key"])
    async with aiohttp.ClientSession() as session:
        api = Api(session, second)
        assert await api.entries("demo") == before
        commands, answers = run_printed_commands(second, run.data)
        assert answers.startswith("HTTP/1.1 200")
        assert '"chat.completion"' in answers
        assert '"tokens_used"' in answers
        assert [key for key in (second["tenant_key"], second["admin_key"]) if key in commands] == []
        keys = {second["tenant_key"]: "tenant.header", second["admin_key"]: "admin.header"}
        for key, name in keys.items():
            assert (run.data / name).read_text() == f"api-key: {key}\n"
            assert (run.data / name).stat().st_mode & 0o077 == 0
        assert len(await api.entries("demo")) == 2
    assert run.stop(signal.SIGINT) == 0
    assert commands in run.output
    assert [name for name in ("run.json", *keys.values()) if (run.data / name).exists()] == []
    assert (run.data / "secrets.json").stat().st_mode & 0o077 == 0


async def test_users_have_aliases_that_outlive_the_run(run: Run) -> None:
    aliases = []
    for _ in range(2):
        document = run.start()
        async with aiohttp.ClientSession() as session:
            api = Api(session, document)
            await api.manage("PATCH", "/manage/tenants/demo", {"pseudonymise_users": True, "prompt_hmac": True})
            assert (await api.chat(document["url"], document["tenant_key"], "Hello!", user="ann"))[0] == 200
            newest, *_ = await api.entries("demo")
            assert newest["prompt_hmac"]
            aliases.append(newest["user"])
        assert run.stop() == 0
    assert aliases[0].startswith("u-")
    assert aliases[0] == aliases[1]


IGNORING_SIGINT = ("sh", "-c", 'trap "" INT; exec "$@"', "sh")
"""Starts a command as a shell without job control does in the background."""


def test_it_ends_on_sigint_even_if_it_inherited_an_ignored_sigint(run: Run) -> None:
    run.start(*IGNORING_SIGINT)
    assert run.stop(signal.SIGINT) == 0
    assert "Stopped." in run.output


def test_a_second_run_that_cannot_start_leaves_the_first_one_alone(run: Run) -> None:
    document = run.start()
    second = {**os.environ, "TALLYGATE_DATA": str(run.data), "TALLYGATE_PORT": document["url"].rsplit(":")[-1]}
    ended = subprocess.run([sys.executable, "-m", "local.run"], cwd=ROOT, env=second, capture_output=True, check=False)
    assert ended.returncode == 2
    assert json.loads((run.data / "run.json").read_text()) == document


async def test_another_region_takes_over_when_the_first_fails(run: Run) -> None:
    document = run.start()
    async with aiohttp.ClientSession() as session:
        api = Api(session, document)
        assert await api.region() == "swedencentral"
        fault = {"kind": "status", "status": 503, "region": "swedencentral", "count": None}
        await session.post(f"{document['simulator_url']}/_sim/faults", json=fault)
        assert await api.region() == "germanywestcentral"
        await session.post(f"{document['simulator_url']}/_sim/faults", json={**fault, "region": "germanywestcentral"})
        assert await api.region() == "eastus"


def run_printed_commands(document: dict[str, Any], data: Path) -> tuple[str, str]:
    """Run the first two commands that `make run` prints. Returns them, and what they print."""
    printed = ready_block(document, data)
    commands = printed[printed.index("  curl -si") : printed.index("  TALLYGATE_DATA=")]
    script = "\n".join(line for line in commands.splitlines() if line.startswith("  "))
    ended = subprocess.run(["bash", "-euc", script], capture_output=True, text=True, check=True)
    return commands, ended.stdout


async def test_open_streams_finish_when_it_is_stopped(run: Run) -> None:
    document = run.start()
    async with aiohttp.ClientSession() as session:
        pace = {"tokens_per_second": 40}
        await session.post(f"{document['simulator_url']}/_sim/pace", json=pace)
        target = f"{document['url']}/openai/deployments/gpt-4o/chat/completions?api-version={API_VERSION}"
        body = {"messages": [{"role": "user", "content": "Hello!"}], "stream": True}
        async with session.post(target, json=body, headers={"api-key": document["tenant_key"]}) as response:
            first = await response.content.readany()
            assert run.process is not None
            run.process.send_signal(signal.SIGTERM)
            received = first + await response.read()
    assert received.endswith(b"data: [DONE]\n\n")
    assert run.stop() == 0


@pytest.mark.parametrize(
    ("setting", "value", "message"),
    [
        ("TALLYGATE_PORT", "taken", "is taken; choose another with TALLYGATE_PORT"),
        ("TALLYGATE_SIMULATOR_PORT", "taken", "is taken; choose another with TALLYGATE_SIMULATOR_PORT"),
        ("TALLYGATE_TABLE_PORT", "taken", "is taken; choose another with TALLYGATE_TABLE_PORT"),
        ("TALLYGATE_PORT", "many", "TALLYGATE_PORT must be a port number"),
        ("TALLYGATE_DATA", "/proc/tallygate", "cannot be used"),
        ("TALLYGATE_DATA", "damaged", "is damaged"),
    ],
)
def test_a_wrong_setting_is_named_in_one_line(tmp_path: Path, setting: str, value: str, message: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        if value == "taken":
            value = str(taken.getsockname()[1])
        if value == "damaged":
            (tmp_path / "secrets.json").write_text("{")
            value = str(tmp_path)
        environment = {
            **os.environ,
            "TALLYGATE_DATA": str(tmp_path / "d"),
            "TALLYGATE_PORT": str(free_port()),
            setting: value,
        }
        ended = subprocess.run(
            [sys.executable, "-m", "local.run"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
    assert ended.returncode == 2
    assert message in ended.stderr
    assert ended.stderr.count("\n") == 1


async def test_two_gateways_under_load_keep_the_quota_and_book_every_served_request(run: Run) -> None:
    """64 clients call two processes. The quota admits about half of the requests."""
    document = run.start()
    second, second_url = further_gateway(document)
    try:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            api = Api(session, document)
            key = await api.tenant("load", monthly_quota_tokens=64 * 4 * 20 // 2)
            urls = (document["url"], second_url)

            async def client(number: int) -> list[int]:
                return [
                    (await api.chat(urls[(number + turn) % 2], key, f"Client {number} asks", stream=turn % 2 == 0))[0]
                    for turn in range(4)
                ]

            statuses = Counter(
                status for each in await asyncio.gather(*(client(number) for number in range(64))) for status in each
            )
            usage = await api.manage("GET", "/manage/tenants/load/usage")
            entries = await api.entries("load")
            served = [each["usage"] for each in await api.simulator() if each["outcome"] == "completed"]
            await anchor_at(session, document, *urls)
        assert set(statuses) == {200, 429}
        assert statuses[200] > 32
        assert usage["tokens_used"] <= usage["quota_tokens"]
        assert usage["tokens_reserved"] == 0
        booked = Counter((entry["usage"]["input_tokens"], entry["usage"]["output_tokens"]) for entry in entries)
        assert booked == Counter((each["prompt_tokens"], each["completion_tokens"]) for each in served)
        assert sum(entry["tokens"] for entry in entries) == usage["tokens_used"]
        ended = verify(document, usage["period"])
        assert ended.returncode == 0, ended.stdout
        assert "a rollback of what happened after the last anchor" in ended.stdout
    finally:
        second.terminate()
        second.wait()


async def test_a_killed_gateway_loses_no_acknowledged_request(run: Run) -> None:
    document = run.start()
    second, second_url = further_gateway(document)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        api = Api(session, document)
        await session.post(f"{document['simulator_url']}/_sim/pace", json={"latency_ms": 30})
        await session.post(
            f"{document['simulator_url']}/_sim/faults", json={"kind": "hang"}
        )  # one request is surely open
        key = await api.tenant("crash", monthly_quota_tokens=10_000_000)
        acknowledged: list[str] = []
        enough = asyncio.Event()

        async def client(number: int) -> None:
            while True:
                status, request_id = await api.chat(second_url, key, f"Client {number}", stream=number % 2 == 0)
                if status != 200:
                    return
                acknowledged.append(request_id)
                if len(acknowledged) == 100:
                    enough.set()

        clients = [asyncio.create_task(client(number)) for number in range(24)]
        await enough.wait()
        second.kill()
        second.wait()
        await asyncio.gather(*clients)
        entries = await api.entries("crash")
        booked = Counter(entry["request_id"] for entry in entries if entry["kind"] == "charge")
        assert [request_id for request_id in acknowledged if booked[request_id] != 1] == []
        usage = await api.manage("GET", "/manage/tenants/crash/usage")
        assert usage["tokens_reserved"] > 0
        assert verify(document, usage["period"]).returncode == 0
    _expire_everything(document)
    async with aiohttp.ClientSession() as session:
        api = Api(session, document)
        usage = await api.manage("GET", "/manage/tenants/crash/usage")
        kinds = Counter(entry["kind"] for entry in await api.entries("crash"))
        assert usage["tokens_reserved"] == 0
        assert kinds["expire"] > 0
    ended = verify(document, usage["period"])
    assert ended.returncode == 0, ended.stdout


def _expire_everything(document: dict[str, Any]) -> None:
    """Expire all reservations, by a process whose clock says that their deadlines are past."""
    script = """
import asyncio
from datetime import UTC, datetime, timedelta
from shared.adapters.clock import StorageClock
from shared.composition.gateway import build
from shared.settings import read_settings

class Later(StorageClock):
    def now(self):
        return datetime.now(UTC) + timedelta(minutes=20)

async def main():
    gateway = await build(read_settings(), Later())
    await gateway.ledger.expire_reservations()
    await gateway.aclose()

asyncio.run(main())
"""
    environment = {**os.environ, **document["gateway_env"]}
    subprocess.run([sys.executable, "-c", script], env=environment, cwd=ROOT, check=True)


def test_the_host_refuses_a_taken_port() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        environment = {**os.environ, "TALLYGATE_PORT": str(taken.getsockname()[1])}
        command = [sys.executable, "-m", "local.functions_host"]
        ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "is taken" in ended.stderr


def test_the_simulator_needs_a_key() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "SIMULATOR_API_KEY"}
    command = [sys.executable, "-m", "local.simulator", "--port", "1"]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (2, "SIMULATOR_API_KEY is not set.\n")


def test_real_gateways_survive_a_bad_network_kills_skewed_clocks_and_the_end_of_a_month() -> None:
    """Runs a short soak. `python -m tests.proof.soak --seconds 3600` runs a long one."""
    command = [sys.executable, "-m", "tests.proof.soak", "--seconds", "12", "--kill-every", "3", "--quota", "8000"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "nothing is wrong" in ended.stdout


async def test_a_resource_that_the_env_file_names_serves_in_place_of_the_simulation(run: Run, tmp_path: Path) -> None:
    async with running_simulator() as (simulator, url), aiohttp.ClientSession() as session:
        lines = {
            "AZURE_OPENAI_ENDPOINT": f"{url}/eastus",
            "AZURE_OPENAI_DEPLOYMENT": "gpt-4o",
            "AZURE_OPENAI_MODEL": "gpt-4o",
            "AZURE_OPENAI_REGION": "swedencentral",
            "AZURE_OPENAI_API_KEY": simulator.api_key,
        }
        (tmp_path / "env").write_text("".join(f"{name}={text}\n" for name, text in lines.items()))
        run.settings = {"TALLYGATE_ENV_FILE": str(tmp_path / "env"), "AZURE_OPENAI_REGION": "eastus"}
        document = run.start()
        api = Api(session, document)
        assert (await api.chat(document["url"], document["tenant_key"], "Hello!"))[0] == 200
        assert await api.region() == "eastus"  # the shell's region goes before that of the file
        assert len(simulator.records) == 2
        assert (document["simulator_url"], document["deployment"]) == ("", "gpt-4o")
        assert "simulator" not in document["pids"]
        (backend,) = (await api.manage("GET", "/manage/backends"))["data"]
        assert (backend["backend_id"], backend["auth"]) == ("gpt-4o", "api_key")
    assert run.stop() == 0
    assert "deployment   gpt-4o" in run.output
    assert "failover" not in run.output
    assert simulator.api_key not in run.output + "".join(
        path.read_text(errors="replace") for path in run.data.glob("*.log")
    )


async def test_a_folder_with_other_backends_is_not_taken_for_a_resource(run: Run) -> None:
    run.start()
    run.stop()
    named = {"AZURE_OPENAI_ENDPOINT": "https://x.openai.azure.com"}
    environment = {**os.environ, "TALLYGATE_DATA": str(run.data), "TALLYGATE_PORT": str(free_port()), **named}
    command = [sys.executable, "-m", "local.run"]
    refused = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert refused.returncode == 2
    assert "AZURE_OPENAI_ENDPOINT defines the first backend only, and this data folder has others" in refused.stderr
