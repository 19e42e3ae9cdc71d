"""The silence of a backend is timed with one timer a response, whatever its chunks do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from aiohttp import web

from shared.adapters.upstream import AiohttpResponse, UpstreamTimeouts
from shared.domain.errors import BackendTimeout
from tests.tools.stack import eventually, free_port

TIMEOUTS = UpstreamTimeouts(connect=5, head=5, idle=0.2, total=60)


class Backend:
    """Sends a chunk whenever the test says so."""

    def __init__(self) -> None:
        self.chunks: asyncio.Queue[bytes] = asyncio.Queue()

    async def serve(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while chunk := await self.chunks.get():
            await response.write(chunk)
        return response


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
async def response(backend: Backend) -> AsyncIterator[AiohttpResponse]:
    app = web.Application()
    app.router.add_get("/", backend.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    async with aiohttp.ClientSession() as session:
        made = AiohttpResponse(await session.get(f"http://127.0.0.1:{port}/"), TIMEOUTS)
        yield made
        made.close()
    backend.chunks.put_nowait(b"")
    await runner.cleanup()


async def test_a_backend_that_falls_silent_between_chunks_is_given_up(
    backend: Backend, response: AiohttpResponse
) -> None:
    backend.chunks.put_nowait(b"one")
    taken: list[bytes] = []
    with pytest.raises(BackendTimeout, match="fell silent for the idle timeout"):
        await response.pass_on(taken.append)
    assert taken == [b"one"]


async def test_a_slow_reader_is_not_a_silent_backend(backend: Backend, response: AiohttpResponse) -> None:
    taken: list[bytes] = []

    async def take_slowly(chunk: bytes) -> None:
        first = response._timer
        await eventually(lambda: response._timer is not first)
        taken.append(chunk)
        backend.chunks.put_nowait(b"two" if len(taken) == 1 else b"")

    backend.chunks.put_nowait(b"one")
    await response.pass_on(take_slowly)
    assert taken == [b"one", b"two"]


async def test_a_body_whose_reader_was_cancelled_is_read_on(backend: Backend, response: AiohttpResponse) -> None:
    taken: list[bytes] = []
    reading = asyncio.ensure_future(response.pass_on(taken.append))
    backend.chunks.put_nowait(b"one")
    await eventually(lambda: taken == [b"one"])
    reading.cancel()
    await asyncio.wait([reading])
    backend.chunks.put_nowait(b"two")
    backend.chunks.put_nowait(b"")
    await response.pass_on(taken.append)
    assert taken == [b"one", b"two"]


async def test_the_timer_ends_with_the_body(backend: Backend, response: AiohttpResponse) -> None:
    backend.chunks.put_nowait(b"one")
    backend.chunks.put_nowait(b"")
    assert await response.read() == b"one"
    assert response._timer is not None
    assert response._timer.cancelled()
