"""Keep-alive HTTP/1.1 connections to one table service (ADR 12).

Every request waits for commits, and a general HTTP client costs them three times the CPU. This one sends small
requests, reads answers whole, has one deadline, and knows no redirects, cookies or retries. RFC 9112.
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
"""Connections idle for longer are closed: services and firewalls drop idle ones without notice."""
_NO_BODY: Final = frozenset({204, 304})
"""Statuses whose answers never have a body, whatever their `Content-Length` (RFC 9110)."""


@value
class Answer:
    """A complete answer. Header names are in lower case."""

    status: int
    headers: Mapping[bytes, bytes]
    body: bytes


class TableConnections:
    """An unbounded pool: as many connections as requests are under way at once."""

    def __init__(self, endpoint: str, timeout_seconds: float) -> None:
        """`timeout_seconds` is the deadline of one request, connecting included."""
        parts = urlsplit(endpoint)
        is_secure = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (443 if is_secure else 80)
        self._tls = ssl.create_default_context() if is_secure else None
        self._version_and_host = f"HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        self._timeout_seconds = timeout_seconds
        self._idle: deque[_Connection] = deque()

    async def request(self, method: str, path: str, headers: Mapping[str, str], body: bytes = b"") -> Answer:
        """Send one request and read its whole answer.

        Raises `AnswerLost` if no complete answer arrives in time: the service may have carried out the request.
        The service may close a connection at the moment at which a request reuses it. So a reading is sent again.
        """
        lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        head = f"{method} {path} {self._version_and_host}{lines}Content-Length: {len(body)}\r\n\r\n"
        connection = idle = self._take_idle()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                if connection is None:
                    connection = await self._connect()
                answer = await connection.exchange(head.encode("latin-1") + body)
        except BaseException as error:
            if connection is not None:
                connection.abort()  # its answer may still arrive: the next request would read it as its own
            if idle is not None and method == "GET" and isinstance(error, ConnectionError):
                return await self.request(method, path, headers)
            if isinstance(error, OSError):  # refused, reset, TLS; TimeoutError is an OSError, too
                raise AnswerLost(type(error).__name__) from error
            raise
        if connection.is_reusable:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)
        else:
            connection.abort()
        return answer

    async def aclose(self) -> None:
        """Close all idle connections."""
        while self._idle:
            self._idle.pop().abort()
        await asyncio.sleep(0)  # transports close in the event loop's next iteration

    def _take_idle(self) -> _Connection | None:
        """Take the connection that was used last. Closes those that have been idle for too long."""
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
    """One TCP or TLS connection. It carries one request at a time, without pipelining."""

    def __init__(self) -> None:
        self.idle_since = 0.0
        """Seconds of the event loop's clock."""
        self.is_reusable = True
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._reader = _AnswerReader()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def exchange(self, request: bytes) -> asyncio.Future[Answer]:
        """Write a request. Returns the future of its answer; raises `ConnectionResetError` on a closed connection."""
        assert self._transport is not None
        if self._transport.is_closing():  # writing would drop the request silently, and the caller would time out
            raise ConnectionResetError
        self._reader = _AnswerReader()
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():  # no request is under way: these bytes answer nothing
            self.abort()
            return
        try:
            answer = self._reader.feed(data)
        except (ValueError, LookupError):
            self._answer.set_exception(AnswerLost("the answer of the table service is not valid HTTP"))
            return
        if answer is not None:
            self.is_reusable = self.is_reusable and self._reader.keeps_alive
            self._answer.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_reusable = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionResetError())

    def abort(self) -> None:
        """Close at once. Idempotent."""
        self.is_reusable = False
        assert self._transport is not None
        self._transport.abort()


class _AnswerReader:
    """Assembles one answer from the parts in which it arrives."""

    def __init__(self) -> None:
        self.keeps_alive = False
        """The service keeps the connection open after this answer."""
        self._received = bytearray()
        self._status = 0
        self._headers: dict[bytes, bytes] = {}
        self._unread_at = 0
        """Offset of the body, or of its next chunk; 0 until the head is complete."""
        self._length: int | None = None
        """Bytes of the body; `None` if it comes in chunks."""
        self._chunks: list[bytes] = []

    def feed(self, data: bytes) -> Answer | None:
        """Add what has arrived. Returns the answer once it is complete.

        Raises `ValueError` or `LookupError` for anything but one HTTP/1 answer.
        """
        self._received += data
        if not self._unread_at and not self._read_head():
            return None
        body = self._chunked_body() if self._length is None else self._sized_body(self._length)
        return None if body is None else Answer(self._status, self._headers, body)

    def _read_head(self) -> bool:
        """Read status and headers. Returns `False` if the head is not complete yet."""
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
        # HTTP/1.0 closes after each answer unless asked otherwise; HTTP/1.1 says so if it will (RFC 9112, 9.3)
        self.keeps_alive = lines[0][5:8] == b"1.1" and self._headers.get(b"connection", b"").lower() != b"close"
        self._unread_at = end + 4
        if self._headers.get(b"transfer-encoding", b"").lower() != b"chunked":
            # A body that ends with the connection is refused: nobody could tell it from one that was cut off.
            self._length = 0 if self._status in _NO_BODY else int(self._headers[b"content-length"])
        return True

    def _sized_body(self, length: int) -> bytes | None:
        end = self._unread_at + length
        if len(self._received) < end:
            return None
        self._require_end(end)
        return bytes(memoryview(self._received)[self._unread_at : end])

    def _chunked_body(self) -> bytes | None:
        """Collect complete chunks. Returns the body once the chunk of size 0 has arrived; trailers are refused."""
        while True:
            line_end = self._received.find(b"\r\n", self._unread_at)
            if line_end < 0:
                return None
            # The size is hexadecimal, and a chunk extension may follow it after a semicolon (RFC 9112, 7.1).
            size = int(bytes(self._received[self._unread_at : line_end]).partition(b";")[0], 16)
            end = line_end + 2 + size + 2
            if len(self._received) < end:
                return None
            if not size:
                self._require_end(end)
                return b"".join(self._chunks)
            self._chunks.append(bytes(memoryview(self._received)[line_end + 2 : end - 2]))
            self._unread_at = end

    def _require_end(self, end: int) -> None:
        """Raise `ValueError` if more than this answer has arrived: only one request was sent."""
        if len(self._received) > end:
            raise ValueError("bytes follow the answer")
