"""Real gateway processes over an Azurite, whose clocks a test moves, to be killed and frozen."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from tests.tools.stack import ADMIN_KEY, CHAIN_KEY, HOST_KEY, SIMULATOR_KEY, AzuriteAccount, await_port, free_port


@dataclass(slots=True)
class LaterHost:
    """One gateway process. `ahead_seconds` moves all its times, and `skew_seconds` only those of its own clock."""

    process: subprocess.Popen[bytes]
    url: str
    session: aiohttp.ClientSession

    async def start_timer(self, name: str) -> None:
        """Start a timer function by hand. Returns at once."""
        headers = {"x-functions-key": HOST_KEY}
        async with self.session.post(f"{self.url}/admin/functions/{name}", json={}, headers=headers) as response:
            assert response.status == 202

    async def run_timer(self, name: str) -> None:
        """Start a timer function by hand, and wait until a run of it has succeeded."""
        before = await self._succeeded_at(name)
        await self.start_timer(name)
        async with asyncio.timeout(60):
            while await self._succeeded_at(name) == before:  # noqa: ASYNC110 - there is no event to await
                await asyncio.sleep(0.05)

    async def _succeeded_at(self, timer: str) -> str:
        _, answer = await self.manage("GET", "/manage/status")
        return str(next(each["succeeded_at"] for each in answer["timers"] if each["timer"] == timer))

    async def manage(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Call the management API as administrator. Returns status and JSON."""
        headers = {"api-key": ADMIN_KEY}
        async with self.session.request(method, f"{self.url}{path}", json=body, headers=headers) as response:
            return response.status, await response.json()

    def kill(self) -> None:
        """End the process as `kill -9` does."""
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """Stop the process between two instructions."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let a frozen process go on."""
        self.process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def later_hosts(
    azurite: AzuriteAccount, folder: Path, count: int, *, ahead_seconds: float = 0, skew_seconds: float = 0, **env: str
) -> AsyncIterator[list[LaterHost]]:
    """Run gateway processes, each with a data folder of its own."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("COV_", "PYTEST_"))},
        **azurite.settings,
        "AUDIT_CHAIN_KEY": CHAIN_KEY,
        "ADMIN_API_KEY": ADMIN_KEY,
        "HOST_KEY": HOST_KEY,
        "AZURE_OPENAI_API_KEY": SIMULATOR_KEY,
        "ALLOW_LOOPBACK_BACKENDS": "true",
        "AHEAD_SECONDS": str(ahead_seconds),
        "SKEW_SECONDS": str(skew_seconds),
        **env,
    }
    hosts: list[LaterHost] = []
    async with aiohttp.ClientSession() as session:
        try:
            for number in range(count):
                port = free_port()
                settings = {**environment, "TALLYGATE_PORT": str(port), "TALLYGATE_DATA": str(folder / str(number))}
                process = subprocess.Popen(
                    [sys.executable, "-m", "tests.tools.skewed_host"], env=settings, stderr=subprocess.DEVNULL
                )
                hosts.append(LaterHost(process, f"http://127.0.0.1:{port}", session))
                await asyncio.to_thread(await_port, port, process)
            yield hosts
        finally:
            for host in hosts:
                host.thaw()
                host.kill()
