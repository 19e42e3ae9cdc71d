"""Today's gateway over frozen storage. Only this file of the suite imports the product."""

from __future__ import annotations

import asyncio
import fcntl
import io
import json
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp
import pytest
from azure.functions.timer import TimerRequest

from local.simulator.records import Record
from local.simulator.server import Kept, Simulator
from shared.cli.__main__ import run
from shared.composition import adapters as composition
from tests.tools.stack import API_VERSION, SIMULATOR_KEY, indexed_functions, running_host, running_simulator
from tests.upgrade.storage import FACTS, Storage

_BEGINNING: Final = datetime.fromisoformat(FACTS["moment"])


@dataclass(slots=True)
class FrozenClock:
    """A clock that begins at a moment in the open month of the corpus."""

    moment: datetime = _BEGINNING
    _since: float = field(default_factory=time.monotonic)

    def go_to(self, moment: str) -> None:
        """Continue from another moment (RFC 3339)."""
        self.moment, self._since = datetime.fromisoformat(moment), time.monotonic()

    def now(self) -> datetime:
        return self.moment + timedelta(seconds=time.monotonic() - self._since)

    monotonic = staticmethod(time.monotonic)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def observe(self, date: bytes, seconds: float) -> None:
        """Ignore the time of storage, which is not that of the corpus."""


@dataclass(frozen=True, slots=True)
class FrozenGateway:
    """A gateway over frozen storage, called over HTTP, by its timers and by its command line."""

    url: str
    session: aiohttp.ClientSession
    clock: FrozenClock
    simulator: Simulator
    simulator_url: str

    async def call(self, method: str, path: str, body: Any = None, *, key: str = FACTS["admin_key"]) -> tuple[int, Any]:
        """Send one request. Returns status and JSON."""
        async with self.session.request(method, self.url + path, json=body, headers={"api-key": key}) as response:
            return response.status, await response.json()

    async def read(self, path: str, *, key: str = FACTS["admin_key"]) -> Any:
        """Send a GET. Returns its JSON. Fails unless the status is 200."""
        status, answer = await self.call("GET", path, key=key)
        assert status == 200, (path, status, answer)
        return answer

    async def entries(self, tenant: str, period: str) -> list[dict[str, Any]]:
        """Return the tenant's entries of a period, newest first."""
        answer = await self.read(f"/manage/tenants/{tenant}/entries?period={period}&limit=500")
        found: list[dict[str, Any]] = answer["data"]
        return found

    async def chat(self, key: str, text: str = "Hello!", **fields: Any) -> tuple[int, Any]:
        """Send one chat completion. Returns status and JSON."""
        body = {"messages": [{"role": "user", "content": text}], "max_tokens": 50, **fields}
        path = f"/openai/deployments/gpt-4o/chat/completions?api-version={API_VERSION}"
        return await self.call("POST", path, body, key=key)

    async def aim_at_simulator(self) -> None:
        """Put the backends of the deployment `gpt-4o` again, with the port of this simulator."""
        for backend_id in (await self.read("/manage/deployments/gpt-4o"))["backends"]:
            path = f"/manage/backends/{backend_id}"
            backend = await self.read(path)
            definition = {name: value for name, value in backend.items() if name not in ("backend_id", "health")}
            definition["endpoint"] = self.simulator_url + urlsplit(backend["endpoint"]).path
            status, answer = await self.call("PUT", path, definition)
            assert status == 200, answer

    def finish_upstream(self, made: dict[str, Any]) -> None:
        """Give the simulator a frozen response that has ended."""
        record = Record(0, made["region"], "", "", "", stream=False)
        self.simulator.kept[made["id"]] = Kept(made["region"], made["document"], made["usage"], [], record)

    async def run_timer(self, name: str) -> None:
        """Run a timer function to its end."""
        _, timers = indexed_functions()
        (function,) = (each for each in timers if each.name == name)
        await function.handler(**{function.parameter: TimerRequest(past_due=False)})

    async def findings(self, period: str, *arguments: str) -> list[str]:
        """Return the findings of the command `verify` in a period's books, statements and promises."""
        return await _verify("--period", period, *arguments)

    async def archive_findings(self, file: Path) -> list[str]:
        """Return the findings of the command `verify` in an archive."""
        return await _verify("--archive", str(file))

    async def export(self, period: str, file: Path) -> None:
        """Write a period's archive."""
        await _archive("backup", "--period", period, "--file", str(file))

    async def restore(self, file: Path) -> None:
        """Insert an archive's rows."""
        await _archive("restore", "--file", str(file))


@asynccontextmanager
async def running_gateway(
    monkeypatch: pytest.MonkeyPatch, folder: Path, storage: Storage
) -> AsyncIterator[FrozenGateway]:
    """Run a gateway with the frozen keys over this storage."""
    environment = {
        "AUDIT_CHAIN_KEY": FACTS["chain_key"],
        "ADMIN_API_KEY": FACTS["admin_key"],
        "AZURE_OPENAI_API_KEY": SIMULATOR_KEY,
        "ALLOW_LOOPBACK_BACKENDS": "true",
        **storage.account.settings,
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    clock = FrozenClock()
    monkeypatch.setattr(composition, "StorageClock", lambda: clock)  # the only place that makes a clock
    with _idle_timers(folder / "timers"):
        async with running_simulator() as (simulator, simulator_url), running_host(folder) as url:
            async with aiohttp.ClientSession() as session:
                yield FrozenGateway(url, session, clock, simulator, simulator_url)


@contextmanager
def _idle_timers(folder: Path) -> Iterator[None]:
    """Lock the host's timers, so that each runs only when a test runs it."""
    folder.mkdir()
    with (folder / "owner.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


async def verified(*arguments: str) -> tuple[int, dict[str, Any]]:
    """Run the command `verify`. Returns its exit status and its JSON."""
    printed = io.StringIO()
    with redirect_stdout(printed), redirect_stderr(io.StringIO()):
        status = await asyncio.to_thread(run, ["verify", *arguments, "--json"])
    return status, json.loads(printed.getvalue())


async def _verify(*arguments: str) -> list[str]:
    status, document = await verified(*arguments)
    assert document["tenants"] > 0
    assert status == bool(document["findings"])
    return [f"{each['invariant']} {each['tenant_id']}: {each['message']}" for each in document["findings"]]


async def _archive(*arguments: str) -> None:
    with redirect_stdout(io.StringIO()):
        assert await asyncio.to_thread(run, arguments) == 0
