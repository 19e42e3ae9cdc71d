"""Gateways of a soak: real processes that are killed, frozen and replaced."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
from typing import Any

from tests.tools.stack import await_port, free_port

FREEZES_SECONDS = (5.0, 15.0, 50.0, 150.0)
_REQUEST_SECONDS = "20"
"""A reservation's deadline is a minute behind the longest request, so that the longest freeze outlasts it."""


def freezes(seconds: float) -> list[float]:
    """Return the freezes of a run, one after the other, none of them longer than a third of it."""
    return [min(each, seconds / 3) for each in FREEZES_SECONDS if each <= seconds / 3] or [seconds / 6]


class Fleet:
    """Gateways that are killed, frozen and replaced."""

    def __init__(self, document: dict[str, Any], table_endpoint: str, offset: float, dice: random.Random) -> None:
        self._document = document
        self._table_endpoint = table_endpoint
        self._offset = offset
        self._dice = dice
        self.running: list[tuple[subprocess.Popen[bytes], str]] = []
        self.frozen: set[str] = set()
        self.starting: set[str] = set()
        self.kills = 0
        self.freezes: list[float] = []

    async def start(self, *, endpoint: str | None = None, later: float = 0.0) -> str:
        """Start one more gateway. `later` moves its clock forward."""
        port = free_port()
        environment = {
            **self._environment(later, self._dice.uniform(-3, 3)),
            "TALLYGATE_PORT": str(port),
            "TALLYGATE_TABLE_ENDPOINT": endpoint or self._table_endpoint,
            "BACKEND_TOTAL_TIMEOUT_SECONDS": _REQUEST_SECONDS,
        }
        process = subprocess.Popen(self._command, env=environment, stderr=subprocess.DEVNULL)
        url = f"http://127.0.0.1:{port}"
        self.running.append((process, url))
        self.starting.add(url)
        try:
            await asyncio.to_thread(await_port, port, process)
        finally:
            self.starting.discard(url)
        return url

    def verify(self, period: str) -> subprocess.CompletedProcess[str]:
        """Run `tallygate verify` by the fleet's clock."""
        command = [*self._command, "verify", "--period", period]
        return subprocess.run(command, env=self._environment(), capture_output=True, text=True, check=False)

    @property
    def _command(self) -> list[str]:
        return [self._document["gateway_command"][0], "-m", "tests.tools.skewed_host"]

    def _environment(self, later: float = 0.0, skew: float = 0.0) -> dict[str, str]:
        clock = {"AHEAD_SECONDS": str(self._offset + later), "SKEW_SECONDS": str(skew)}
        return {**os.environ, **self._document["gateway_env"], **clock}

    async def kill_one(self) -> None:
        """Kill a gateway that is not frozen with `kill -9`, and start another in its place."""
        awake = [each for each in self.running if each[1] not in self.frozen | self.starting]
        if awake:
            process, url = self._dice.choice(awake)
            self.running.remove((process, url))
            process.kill()
            process.wait()
            self.kills += 1
            await self.start()

    async def freeze_one(self, seconds: float) -> None:
        """Stop a gateway for some seconds, in the middle of whatever it does."""
        if not (ready := [each for each in self.running if each[1] not in self.starting]):
            return
        process, url = self._dice.choice(ready)
        process.send_signal(signal.SIGSTOP)
        self.frozen.add(url)
        try:
            await asyncio.sleep(seconds)
            self.freezes.append(seconds)
        finally:
            process.send_signal(signal.SIGCONT)
            self.frozen.discard(url)

    def any_url(self) -> str:
        """Return the address of a gateway. Mostly it is one that answers, so that clients go on."""
        awake = [url for _, url in self.running if url not in self.frozen | self.starting]
        return self._dice.choice(awake if awake and self._dice.random() < 0.95 else [url for _, url in self.running])

    async def stop(self) -> None:
        """End all gateways after their commits."""
        for process, _ in self.running:
            process.terminate()
        for process, _ in self.running:
            await asyncio.to_thread(process.wait)
        self.running.clear()
