"""The least a proxy of this kind can do: the same server and client library, raw bytes both ways, no feature."""

from __future__ import annotations

import sys
from typing import Any

import aiohttp
import uvicorn

_session: aiohttp.ClientSession | None = None


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Forwards every POST."""
    global _session  # noqa: PLW0603 - one session a process, as the gateway has
    if scope["type"] != "http":
        return
    if _session is None:
        _session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
        )
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            break
    url = sys.argv[2] + scope["path"]
    headers = {"content-type": "application/json", "api-key": "bench"}
    async with _session.post(url, data=b"".join(parts), headers=headers) as response:
        kept = [(name, value) for name, value in response.raw_headers if name.lower() != b"transfer-encoding"]
        await send({"type": "http.response.start", "status": response.status, "headers": kept})
        if "content-length" in response.headers:
            await send({"type": "http.response.body", "body": await response.read()})
            return
        async for chunk in response.content.iter_any():
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), http="httptools", access_log=False, log_level="warning", lifespan="off")
