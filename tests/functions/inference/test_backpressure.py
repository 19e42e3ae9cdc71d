"""A caller that does not read stops the backend, so that little is buffered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from tests.tools.stack import Stack, free_port

EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % (b"word " * 200)
EVENTS = 60_000
"""Events of an answer of some 60 MiB, far more than all buffers hold."""
MOST_ON_THE_WAY = 16 * 1024 * 1024
USAGE = {"prompt_tokens": 9, "completion_tokens": EVENTS}


class Torrent:
    """A backend that sends as fast as it may."""

    def __init__(self) -> None:
        self.sent = 0
        self.is_blocked = asyncio.Event()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(EVENTS):
            writing = asyncio.ensure_future(response.write(EVENT))
            done, _ = await asyncio.wait([writing], timeout=1)
            if not done:
                self.is_blocked.set()
            await writing
            self.sent += len(EVENT)
        for ending in (b"data: " + json.dumps({"choices": [], "usage": USAGE}).encode(), b"data: [DONE]"):
            await response.write(ending + b"\n\n")
        return response


@pytest.fixture
async def torrent(stack: Stack) -> AsyncIterator[Torrent]:
    made = Torrent()
    app = web.Application()
    app.router.add_post("/openai/deployments/gpt-4o/chat/completions", made.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    backend = {"endpoint": f"http://127.0.0.1:{port}", "upstream_deployment": "gpt-4o", "model": "gpt-4o"}
    definition = {**backend, "region": "swedencentral", "zone": "eu", "auth": "api_key"}
    await stack.manage("PUT", "/manage/backends/se-gpt-4o", definition)
    yield made
    await runner.cleanup()


async def test_a_caller_that_does_not_read_stops_the_backend(stack: Stack, torrent: Torrent) -> None:
    body = {"messages": [{"role": "user", "content": "Hello!"}], "stream": True}
    async with stack.session.post(stack.chat_url, json=body, headers={"api-key": stack.key}) as response:
        await torrent.is_blocked.wait()
        assert 0 < torrent.sent < MOST_ON_THE_WAY
        received = 0
        async for chunk in response.content.iter_any():
            received += len(chunk)
    assert received >= EVENTS * len(EVENT)
    (entry,) = await stack.entries()
    assert (entry["usage"]["output_tokens"], entry["estimated"]) == (EVENTS, False)
