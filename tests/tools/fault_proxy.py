"""An HTTP proxy before the table service. It loses, delays, repeats and cuts requests at random, by a seed."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Final

import aiohttp
from aiohttp import web
from yarl import URL

FAULTS: Final = (
    "lost request",
    "lost response",
    "duplicate",
    "delay",
    "zombie",
    "503 before commit",
    "503 after commit",
    "truncation",
)
_OWN_HEADERS: Final = frozenset({"host", "transfer-encoding", "connection", "keep-alive", "content-length"})


class FaultProxy:
    """Forwards to `target`. `rate` is the share of requests with a fault; 0 forwards all unchanged."""

    def __init__(self, target: str, rate: float, seed: int) -> None:
        self.rate = rate
        self.by_kind: Counter[str] = Counter()
        self.requests = 0
        self.url = ""
        self._target = target
        self._dice = random.Random(seed)
        self._stuck: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> FaultProxy:
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), auto_decompress=False)
        app = web.Application(client_max_size=2**26)
        app.router.add_route("*", "/{tail:.*}", self._handle)
        self._runner = web.AppRunner(app, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._stuck:
            task.cancel()
        await self._runner.cleanup()
        await self._session.close()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        self.requests += 1
        fault = self._dice.choice(FAULTS) if self._dice.random() < self.rate else None
        if fault is not None:
            self.by_kind[fault] += 1
        if fault in ("lost request", "503 before commit", "zombie"):
            if fault == "zombie":
                self._later(request, body)
            return web.Response(status=503) if fault == "503 before commit" else self._cut(request)
        if fault == "delay":
            await asyncio.sleep(self._dice.uniform(0.05, 4.0))
        status, headers, answer = await self._forward(request, body)
        if fault == "duplicate":
            self._later(request, body)
        return await self._answered(request, fault, status, headers, answer)

    async def _answered(
        self, request: web.Request, fault: str | None, status: int, headers: dict[str, str], answer: bytes
    ) -> web.StreamResponse:
        """Deliver an answer, unless its fault loses or cuts it."""
        if fault == "lost response":
            return self._cut(request)
        if fault == "503 after commit":
            return web.Response(status=503)
        if fault == "truncation":
            return await self._truncate(request, status, answer)
        return web.Response(status=status, headers=headers, body=answer)

    async def _forward(self, request: web.Request, body: bytes) -> tuple[int, dict[str, str], bytes]:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _OWN_HEADERS}
        async with self._session.request(
            request.method,
            URL(self._target + request.raw_path, encoded=True),
            data=body or None,
            headers=headers,
            skip_auto_headers=("Content-Type", "Accept-Encoding", "User-Agent"),
        ) as response:
            kept = {name: value for name, value in response.headers.items() if name.lower() not in _OWN_HEADERS}
            return response.status, kept, await response.read()

    def _later(self, request: web.Request, body: bytes) -> None:
        """Send the request once more, or for the first time, some time from now."""

        async def arrive() -> None:
            await asyncio.sleep(self._dice.uniform(0.0, 5.0))
            await self._forward(request, body)

        task = asyncio.create_task(arrive())
        self._stuck.add(task)
        task.add_done_callback(self._stuck.discard)

    @staticmethod
    def _cut(request: web.Request) -> web.Response:
        assert request.transport is not None
        request.transport.abort()
        return web.Response(status=500)

    @staticmethod
    async def _truncate(request: web.Request, status: int, answer: bytes) -> web.StreamResponse:
        response = web.StreamResponse(status=status, headers={"Content-Length": str(len(answer) + 1)})
        await response.prepare(request)
        await response.write(answer[: len(answer) // 2])
        assert request.transport is not None
        request.transport.abort()
        return response
