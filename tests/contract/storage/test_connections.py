"""Connections to the table service, against servers that speak HTTP well, badly, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeAlias

import pytest

from shared.adapters.tables.connections import IDLE_SECONDS, TableConnections
from shared.adapters.tables.store import AnswerLost
from tests.tools.stack import eventually

Script: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nETag: W/1\r\n\r\nok"


class Server:
    """A server that answers each request with given bytes, or follows a script."""

    def __init__(self) -> None:
        self.parts: tuple[bytes, ...] = (OK,)
        self.closes = False
        self.script: Script | None = None
        self.accepted = 0
        self.requests: list[bytes] = []
        self.closed = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        try:
            await (self.script or self._answer)(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self.closed.set()
            writer.close()

    async def read_request(self, reader: asyncio.StreamReader) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        self.requests.append(head + await reader.readexactly(length))

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await self.read_request(reader)
            for part in self.parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)
            if self.closes:
                return


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def connections(server: Server) -> AsyncIterator[TableConnections]:
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    made = TableConnections(f"http://127.0.0.1:{port}", timeout_seconds=5)
    yield made
    await made.aclose()
    listening.close()


async def test_a_request_is_sent_whole_and_its_answer_read(server: Server, connections: TableConnections) -> None:
    answer = await connections.request("POST", "/x/$batch", {"A": "1", "B": "2"}, b"body")
    assert (answer.status, answer.headers[b"etag"], answer.body) == (200, b"W/1", b"ok")
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"POST /x/$batch HTTP/1.1"
    assert {b"A: 1", b"B: 2", b"Content-Length: 4"} <= set(head.split(b"\r\n"))
    assert body == b"body"


async def test_connections_are_kept_and_each_serves_one_request_at_a_time(
    server: Server, connections: TableConnections
) -> None:
    await connections.request("GET", "/", {})
    await connections.request("GET", "/", {})
    assert server.accepted == 1
    await asyncio.gather(*(connections.request("GET", "/", {}) for _ in range(3)))
    assert server.accepted == 3


CHUNKED = b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\nwiki\r\nA\r\npedia page\r\n0\r\n\r\n"


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
async def test_a_chunked_body_is_put_together_however_it_is_cut(
    server: Server, connections: TableConnections, size: int
) -> None:
    server.parts = tuple(CHUNKED[at : at + size] for at in range(0, len(CHUNKED), size))
    for _ in range(2):
        answer = await connections.request("GET", "/", {})
        assert (answer.status, answer.body) == (202, b"wikipedia page")
    assert server.accepted == 1


async def test_an_answer_without_a_body_is_complete(server: Server, connections: TableConnections) -> None:
    server.parts = (b"HTTP/1.1 204 No Content\r\n\r\n",)
    assert (await connections.request("GET", "/", {})).body == b""


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    ],
)
async def test_a_connection_that_the_service_ends_is_not_kept(
    server: Server, connections: TableConnections, answer: bytes
) -> None:
    server.parts = (answer,)
    await connections.request("GET", "/", {})
    await connections.request("GET", "/", {})
    assert server.accepted == 2


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-nonsense\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        OK + OK,
    ],
)
async def test_bytes_that_are_not_one_http_answer_are_no_answer(
    server: Server, connections: TableConnections, answer: bytes
) -> None:
    server.parts = (answer,)
    with pytest.raises(AnswerLost):
        await connections.request("GET", "/", {})


async def test_a_connection_that_breaks_gives_no_answer(server: Server, connections: TableConnections) -> None:
    server.parts, server.closes = (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nok",), True
    with pytest.raises(AnswerLost):
        await connections.request("GET", "/", {})


async def test_a_connection_that_the_service_closed_while_idle_is_not_used_again(
    server: Server, connections: TableConnections
) -> None:
    server.parts, server.closes = (OK,), True
    await connections.request("GET", "/", {})
    await eventually(lambda: not connections._idle[0].is_reusable)
    assert (await connections.request("GET", "/", {})).body == b"ok"
    assert server.accepted == 2


@pytest.mark.parametrize(("method", "accepted"), [("GET", 3), ("POST", 2)])
async def test_a_reading_is_sent_again_where_the_service_closes_connections_as_they_are_reused(
    server: Server, connections: TableConnections, method: str, accepted: int
) -> None:
    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read_request(reader)
        writer.write(OK)
        await server.read_request(reader)

    server.script = answer_once
    await asyncio.gather(*(connections.request("GET", "/", {}) for _ in range(2)))
    if method == "GET":
        assert (await connections.request(method, "/", {})).body == b"ok"
    else:
        with pytest.raises(AnswerLost):
            await connections.request(method, "/", {})
    assert server.accepted == accepted


async def test_connections_that_are_idle_for_long_are_closed(server: Server, connections: TableConnections) -> None:
    await asyncio.gather(*(connections.request("GET", "/", {}) for _ in range(2)))
    connections._idle[0].idle_since -= IDLE_SECONDS + 1
    await connections.request("GET", "/", {})
    assert (server.accepted, len(connections._idle)) == (2, 1)
    connections._idle[0].idle_since -= IDLE_SECONDS + 1
    await connections.request("GET", "/", {})
    assert server.accepted == 3


async def test_a_dead_connection_below_a_live_one_is_skipped(server: Server, connections: TableConnections) -> None:
    await asyncio.gather(*(connections.request("GET", "/", {}) for _ in range(2)))
    connections._idle[-1].abort()
    await connections.request("GET", "/", {})
    assert server.accepted == 2


async def test_bytes_that_nobody_asked_for_end_the_connection(server: Server, connections: TableConnections) -> None:
    sent = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read_request(reader)
        writer.write(OK)
        await sent.wait()
        writer.write(OK)
        await reader.read()

    server.script = script
    await connections.request("GET", "/", {})
    sent.set()
    await server.closed.wait()
    server.script = None
    assert (await connections.request("GET", "/", {})).body == b"ok"
    assert server.accepted == 2


async def test_a_connection_that_closes_before_it_is_used_gives_no_answer(
    server: Server, connections: TableConnections
) -> None:
    connection = await connections._connect()
    connection.abort()
    with pytest.raises(ConnectionResetError):
        connection.exchange(b"")


async def test_a_request_that_is_cancelled_closes_its_connection(server: Server, connections: TableConnections) -> None:
    reached = asyncio.Event()

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await server.read_request(reader)
        reached.set()
        await reader.read()

    server.script = script
    task = asyncio.create_task(connections.request("GET", "/", {}))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await server.closed.wait()
    assert not connections._idle


def test_the_port_follows_the_scheme() -> None:
    assert TableConnections("http://host", 1)._port == 80
    assert TableConnections("https://host/path", 1)._port == 443
