"""Keep-alive HTTP/1.1 connections to one table service.

Own code, because a commit is what every request waits for, and a general client costs three times the CPU of what is
needed here: small requests, answers read combined, one deadline, no redirects, cookies or retries (ADR 14).
"""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

from shared.adapters.tables.store import AnswerLost
from shared.domain.values import value

IDLE_SECONDS: Final = 15.0
_NO_BODY: Final = frozenset({204, 304})


@value
class Answer:
    """A complete answer; header names are in lower case."""

    status: int
    headers: Mapping[bytes, bytes]
    body: bytes


class TableConnections:
    """A pool without bound: as many connections as there are requests under way at once."""

    def __init__(self, endpoint: str, timeout_seconds: float) -> None:
        parts = urlsplit(endpoint)
        is_secure = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if is_secure else 80)
        self._tls = ssl.create_default_context() if is_secure else None
        self._head = f"HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        self._timeout_seconds = timeout_seconds
        self._idle: deque[_Connection] = deque()

    async def request(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
        """Send one request and read its whole answer. Raises `AnswerLost` if there is none in time."""
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        head = f"{method} {path} {self._head}{lines}Content-Length: {len(body)}\r\n\r\n"
        connection: _Connection | None = None
        try:
            async with asyncio.timeout(self._timeout_seconds):
                connection = self._pooled() or await self._connect()
                answer = await connection.exchange(head.encode("latin-1") + body)
        except BaseException as error:
            if connection is not None:
                connection.abort()
            if isinstance(error, OSError):  # refused, reset, TLS; a timeout is one too
                raise AnswerLost(type(error).__name__) from error
            raise
        if connection.is_reusable:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)
        else:
            connection.abort()
        return answer

    async def aclose(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._idle.pop().abort()
        await asyncio.sleep(0)  # transports close in the loop's next turn

    def _pooled(self) -> _Connection | None:
        """The connection that was used last; those that have been idle for long are closed."""
        if not self._idle:
            return None
        expired = asyncio.get_running_loop().time() - IDLE_SECONDS
        while self._idle and (self._idle[0].idle_since < expired or not self._idle[0].is_reusable):
            self._idle.popleft().abort()
        while self._idle:
            connection = self._idle.pop()
            if connection.is_reusable:
                return connection
        return None

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(_Connection, self._host, self._port, ssl=self._tls)
        return connection


class _Connection(asyncio.Protocol):
    """One request at a time."""

    def __init__(self) -> None:
        self.idle_since = 0.0
        self.is_reusable = True
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._reader = _AnswerReader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def exchange(self, request: bytes) -> asyncio.Future[Answer]:
        assert self._transport is not None
        if self._transport.is_closing():
            raise ConnectionResetError
        self._reader = _AnswerReader()
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():  # nobody asked for this
            self.abort()
            return
        try:
            answer = self._reader.feed(data)
        except (ValueError, LookupError):
            self._answer.set_exception(AnswerLost("the table service does not speak HTTP"))
            return
        if answer is not None:
            self.is_reusable = self.is_reusable and self._reader.keeps_alive
            self._answer.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_reusable = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError())

    def abort(self) -> None:
        self.is_reusable = False
        assert self._transport is not None
        self._transport.abort()


class _AnswerReader:
    """Puts one answer together. Raises `ValueError` or `LookupError` for what is not HTTP."""

    def __init__(self) -> None:
        self.keeps_alive = False
        self._received = bytearray()
        self._status = 0
        self._headers: dict[bytes, bytes] = {}
        self._body_at = 0
        self._length: int | None = None
        self._chunks: list[bytes] = []

    def feed(self, data: bytes) -> Answer | None:
        """The answer, once it is complete."""
        self._received += data
        if not self._body_at and not self._read_head():
            return None
        body = self._chunked_body() if self._length is None else self._sized_body(self._length)
        return None if body is None else Answer(self._status, self._headers, body)

    def _read_head(self) -> bool:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return False
        lines = bytes(self._received[:end]).split(b"\r\n")
        if not lines[0].startswith(b"HTTP/1."):
            raise ValueError(lines[0])
        self._status = int(lines[0][9:12])
        for line in lines[1:]:
            name, _, text = line.partition(b":")
            self._headers[name.lower()] = text.strip()
        self.keeps_alive = lines[0][5:8] == b"1.1" and self._headers.get(b"connection", b"").lower() != b"close"
        self._body_at = end + 4
        if self._headers.get(b"transfer-encoding", b"").lower() != b"chunked":
            self._length = 0 if self._status in _NO_BODY else int(self._headers[b"content-length"])
        return True

    def _sized_body(self, length: int) -> bytes | None:
        end = self._body_at + length
        if len(self._received) < end:
            return None
        self._check_end(end)
        return bytes(memoryview(self._received)[self._body_at : end])

    def _chunked_body(self) -> bytes | None:
        while True:
            line_end = self._received.find(b"\r\n", self._body_at)
            if line_end < 0:
                return None
            size = int(bytes(self._received[self._body_at : line_end]).partition(b";")[0], 16)
            end = line_end + 2 + size + 2
            if len(self._received) < end:
                return None
            if not size:
                self._check_end(end)
                return b"".join(self._chunks)
            self._chunks.append(bytes(memoryview(self._received)[line_end + 2 : end - 2]))
            self._body_at = end

    def _check_end(self, end: int) -> None:
        if len(self._received) > end:
            raise ValueError("more than one answer")
