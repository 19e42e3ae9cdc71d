"""Callers over a bare socket, who do what no client library does."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from tests.tools.stack import Stack


@asynccontextmanager
async def unread(stack: Stack, *, stream: bool = True, key: str = "") -> AsyncIterator[socket.socket]:
    """Send one chat over a connection with a small buffer, and read nothing of its answer."""
    url = urlsplit(stack.chat_url)
    body = json.dumps({"messages": [{"role": "user", "content": "Hello!"}], "stream": stream}).encode()
    head = (
        f"POST {url.path}?{url.query} HTTP/1.1\r\nHost: gateway\r\napi-key: {key or stack.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    assert url.port is not None
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(connection, ("127.0.0.1", url.port))
        await loop.sock_sendall(connection, head.encode() + body)
        yield connection


class UnfinishedRequest:
    """One chat whose body the test sends as it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, part: bytes) -> None:
        """Send bytes as they are."""
        self._writer.write(part)
        await self._writer.drain()

    async def answer(self) -> tuple[int, dict[str, str], dict[str, Any]]:
        """Return status, headers and JSON of the answer."""
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): text for name, _, text in (line.partition(": ") for line in head[1:-2])}
        body = await self._reader.readexactly(int(headers["content-length"]))
        return int(head[0].split()[1]), headers, json.loads(body)

    async def is_closed(self) -> bool:
        """Wait for the end of the connection."""
        return await self._reader.read(1) == b""


@asynccontextmanager
async def unfinished(stack: Stack, size: int | None, *, key: str = "") -> AsyncIterator[UnfinishedRequest]:
    """Send the head of a chat whose body has `size` bytes, or comes in chunks if that is `None`. Sends no body."""
    url = urlsplit(stack.chat_url)
    length = "Transfer-Encoding: chunked" if size is None else f"Content-Length: {size}"
    reader, writer = await asyncio.open_connection("127.0.0.1", url.port)
    request = UnfinishedRequest(reader, writer)
    try:
        await request.send(
            f"POST {url.path}?{url.query} HTTP/1.1\r\nHost: gateway\r\napi-key: {key or stack.key}\r\n"
            f"Content-Type: application/json\r\n{length}\r\n\r\n".encode()
        )
        yield request
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
