"""Callers over a bare socket, who do what no client library does."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
