"""`python -m bench.memory`: what a gateway keeps in memory for a large answer, and with a thousand streams open."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys

import aiohttp
from aiohttp import web

from bench.load import Target, memory_mib
from bench.processes import free_port, gateway

_KIB = 1024
_EVENT = b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % (b"word " * 20)
_ENDING = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":20}}\n\ndata: [DONE]\n\n'
_BUFFERED = {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 20}}
BOUND_PER_STREAM_KIB = 64
BOUND_PER_ANSWER = 3
"""Times the size of an answer that is not streamed: received in parts, joined, and on its way out."""


class _Backend:
    """Streams a few events and waits; buffered, answers with so many bytes."""

    def __init__(self, events: int, answer_bytes: int) -> None:
        self._events = events
        self._answer = json.dumps({**_BUFFERED, "padding": "x" * answer_bytes}).encode()
        self._small = json.dumps(_BUFFERED).encode()
        self.open = 0
        self.all_open = asyncio.Event()
        self.release = asyncio.Event()
        self.wanted = 0

    async def serve(self, request: web.Request) -> web.StreamResponse:
        asked = await request.json()
        if not asked.get("stream"):
            answer = self._small if asked.get("user") == "small" else self._answer
            return web.Response(body=answer, content_type="application/json")
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(self._events):
            await response.write(_EVENT)
        self.open += 1
        if self.open == self.wanted:
            self.all_open.set()
        await self.release.wait()
        await response.write(_ENDING)
        return response


async def _measure(target: Target, backend: _Backend, streams: int) -> None:
    headers = {"api-key": target.key}
    body = {"messages": [{"role": "user", "content": "Hello!"}], "max_tokens": 20}
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def stream() -> None:
            async with session.post(target.url, json={**body, "stream": True}, headers=headers) as response:
                await response.read()

        await _buffered(session, target, {**body, "user": "small"})
        before = memory_mib(target.pid)
        size = await _buffered(session, target, body)
        peak = memory_mib(target.pid, "VmHWM")
        print(f"an answer of {size / 2**20:.0f} MiB: {before:.0f} MiB before, {peak:.0f} MiB at its peak")
        _bar("a large answer", (peak - before) * 2**20 / size, BOUND_PER_ANSWER, "x its size")
        before = memory_mib(target.pid)
        backend.wanted = streams
        running = [asyncio.create_task(stream()) for _ in range(streams)]
        await backend.all_open.wait()
        during = memory_mib(target.pid)
        each = (during - before) * _KIB / streams
        print(f"{streams} open streams: {before:.0f} MiB before, {during:.0f} MiB with them")
        _bar("a stream", each, BOUND_PER_STREAM_KIB, "KiB")
        backend.release.set()
        await asyncio.gather(*running)


async def _buffered(session: aiohttp.ClientSession, target: Target, body: dict[str, object]) -> int:
    async with session.post(target.url, json=body, headers={"api-key": target.key}) as response:
        return len(await response.read())


def _bar(name: str, value: float, allowed: float, unit: str) -> None:
    print(f"  {'kept  ' if value <= allowed else 'MISSED'} {name:20} {value:7.1f} {unit} (at most {allowed:g})")


async def _run(streams: int, events: int, answer_mib: int) -> None:
    backend = _Backend(events, answer_mib * 2**20)
    app = web.Application()
    app.router.add_post("/openai/deployments/gpt-4o/chat/completions", backend.serve)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    starting = gateway("in memory", {"TALLYGATE_STORAGE": "memory"}, f"http://127.0.0.1:{port}")
    target = await asyncio.to_thread(starting.__enter__)
    try:
        await _measure(target, backend, streams)
    finally:
        await asyncio.to_thread(starting.__exit__, None, None, None)
        await runner.cleanup()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.memory")
    parser.add_argument("--streams", type=int, default=1000)
    parser.add_argument("--events", type=int, default=20, help="of each stream before it falls silent")
    parser.add_argument("--answer-mib", type=int, default=20)
    options = parser.parse_args()
    asyncio.run(_run(options.streams, options.events, options.answer_mib))
    return 0


if __name__ == "__main__":
    sys.exit(main())
