"""A backend whose answers a test writes byte by byte: for upstreams that lie, and that never end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing, suppress
from typing import TypeAlias

from tests.tools.stack import Stack

Script: TypeAlias = Callable[[asyncio.StreamWriter], Awaitable[None]]
"""Writes one whole answer. The connection is closed after it."""

EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
EVENT = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":" word"},"finish_reason":null}]}\n\n'


@asynccontextmanager
async def scripted_backend(stack: Stack, script: Script, **fields: object) -> AsyncIterator[None]:
    """Serve `gpt-4o` by a backend that answers each request by `script`. `fields` are further fields of the backend."""
    tasks = set[asyncio.Task[None]]()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with closing(writer), suppress(ConnectionError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            await reader.readexactly(int(length.partition(b":")[2]))
            await script(writer)
            await writer.drain()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    await stack.backend("swedencentral", "scripted", endpoint=f"http://127.0.0.1:{port}", **fields)
    await stack.manage("PUT", "/manage/deployments/gpt-4o", {"backends": ["scripted"]})
    try:
        yield
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def endless(writer: asyncio.StreamWriter) -> None:
    """Stream events without an end."""
    writer.write(EVENTS)
    while True:
        writer.write(EVENT * 100)
        await writer.drain()
        await asyncio.sleep(0)  # an open window never suspends `drain`
