"""An emulated ingestion endpoint of Application Insights, and a collector of OTLP over HTTP.

It keeps what it gets, and can refuse, stall, hang up, and answer with any status.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

REFUSED = "refused"


@dataclass(slots=True)
class Ingestion:
    """All envelopes of Application Insights, and all bodies of OTLP by their path."""

    envelopes: list[dict[str, Any]] = field(default_factory=list)
    otlp: dict[str, list[bytes]] = field(default_factory=dict)
    tokens: list[str] = field(default_factory=list)
    """The headers `Authorization`."""
    status: int = 200
    """The status of the next answers. 206 refuses the first item of each request."""
    mode: str = "answer"
    """`answer`, `stall` (until `released` is set) or `hang_up`."""
    requests: int = 0
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def application(self) -> web.Application:
        """Return the web application."""
        application = web.Application(client_max_size=64 * 1024 * 1024)
        application.router.add_post("/{path:/?v2(\\.1)?/track}", self._misbehaving(self._track))
        application.router.add_post("/v1/{signal}", self._misbehaving(self._export))
        return application

    def of_kind(self, kind: str) -> list[dict[str, Any]]:
        """Return the data of all envelopes of a kind, such as `MetricData`, `MessageData` or `RequestData`."""
        found = [each["data"] for each in self.envelopes]
        return [each["baseData"] for each in found if each["baseType"] == kind]

    def _misbehaving(
        self, handle: Callable[[web.Request], Awaitable[web.Response]]
    ) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            self.requests += 1
            self.tokens.append(request.headers.get("Authorization", ""))
            if self.mode == "stall":
                await self.released.wait()
            if self.mode == "hang_up":
                assert request.transport is not None
                request.transport.close()
                return web.Response(status=500)
            if self.status not in (200, 206):
                return web.json_response({"errors": []}, status=self.status)
            return await handle(request)

        return answer

    async def _track(self, request: web.Request) -> web.Response:
        """Accept newline JSON, which may be compressed. https://learn.microsoft.com/rest/api/application-insights"""
        text = _unpacked(await request.read()).decode()
        items = json.loads(text) if text.startswith("[") else [json.loads(line) for line in text.splitlines()]
        errors = []
        if self.status == 206:
            errors = [{"index": 0, "statusCode": 400, "message": REFUSED}]
            items = items[1:]
        self.envelopes += items
        count = len(items)
        body = {"itemsReceived": count + len(errors), "itemsAccepted": count, "errors": errors}
        return web.json_response(body, status=self.status)

    async def _export(self, request: web.Request) -> web.Response:
        self.otlp.setdefault(request.match_info["signal"], []).append(_unpacked(await request.read()))
        return web.Response(content_type="application/x-protobuf")


def _unpacked(body: bytes) -> bytes:
    if body.startswith(b"\x1f\x8b"):
        return gzip.decompress(body)
    return zlib.decompress(body) if body.startswith(b"\x78") else body
