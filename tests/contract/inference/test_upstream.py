"""One watchdog times the silence of all backends, however their chunks arrive."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace

import aiohttp
import pytest
from aiohttp import web

from shared.adapters.azure_openai.upstream import AiohttpResponse, UpstreamTimeouts
from shared.adapters.azure_openai.watchdog import NOT_WAITING, Watchdog
from shared.domain.errors import AnswerTooLong, BackendTimeout
from tests.tools.stack import eventually, free_port

TIMEOUTS = UpstreamTimeouts(connect_seconds=5, head_seconds=5, idle_seconds=0.2, total_seconds=60)


class Backend:
    """Sends a chunk when the test says so."""

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
def total_seconds() -> float:
    return TIMEOUTS.total_seconds


@pytest.fixture
async def response(backend: Backend, total_seconds: float) -> AsyncIterator[AiohttpResponse]:
    app = web.Application()
    app.router.add_get("/", backend.serve)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    async with aiohttp.ClientSession() as session:
        made = AiohttpResponse(
            await session.get(f"http://127.0.0.1:{port}/"),
            replace(TIMEOUTS, total_seconds=total_seconds),
            Watchdog(TIMEOUTS.idle_seconds),
        )
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
        await response.forward(taken.append)
    assert taken == [b"one"]


@pytest.mark.parametrize("total_seconds", [0.1])
async def test_a_backend_that_is_silent_when_the_total_is_over_is_given_up_then(
    backend: Backend, response: AiohttpResponse, total_seconds: float
) -> None:
    backend.chunks.put_nowait(b"one")
    response.allowed_seconds = 60
    with pytest.raises(AnswerTooLong, match=r"the total timeout of 0\.1 s"):
        await response.forward(lambda _: None)


async def test_a_slow_reader_is_not_a_silent_backend(backend: Backend, response: AiohttpResponse) -> None:
    taken: list[bytes] = []

    async def take_slowly(chunk: bytes) -> None:
        is_late = asyncio.Event()
        asyncio.get_running_loop().call_later(2 * TIMEOUTS.idle_seconds, is_late.set)
        await is_late.wait()
        taken.append(chunk)
        backend.chunks.put_nowait(b"two" if len(taken) == 1 else b"")

    backend.chunks.put_nowait(b"one")
    await response.forward(take_slowly)
    assert taken == [b"one", b"two"]


async def test_a_process_that_was_suspended_gives_up_no_backend(backend: Backend, response: AiohttpResponse) -> None:
    taken: list[bytes] = []
    reading = asyncio.create_task(response.forward(taken.append))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_soon(time.sleep, 3 * TIMEOUTS.idle_seconds)
    for chunk in (b"one", b""):
        backend.chunks.put_nowait(chunk)
    await reading
    assert taken == [b"one"]


async def test_a_body_whose_reader_was_cancelled_is_read_on(backend: Backend, response: AiohttpResponse) -> None:
    taken: list[bytes] = []
    reading = asyncio.ensure_future(response.forward(taken.append))
    backend.chunks.put_nowait(b"one")
    await eventually(lambda: taken == [b"one"])
    reading.cancel()
    await asyncio.wait([reading])
    backend.chunks.put_nowait(b"two")
    backend.chunks.put_nowait(b"")
    await response.forward(taken.append)
    assert taken == [b"one", b"two"]


async def test_a_body_that_has_ended_is_no_longer_watched(backend: Backend, response: AiohttpResponse) -> None:
    backend.chunks.put_nowait(b"one")
    backend.chunks.put_nowait(b"")
    assert await response.read() == b"one"
    assert not response._watchdog._waits


@dataclass(eq=False)
class Wait:
    """Implements `Waiting`."""

    allowed_seconds: float
    give_up: Callable[[], None]
    since: float = field(default_factory=time.monotonic)
    ends_at: float = math.inf


async def test_the_watchdog_gives_up_only_waits_that_are_late() -> None:
    watchdog, given_up = Watchdog(0.08), list[str]()
    is_over = asyncio.Event()
    patient, quiet = Wait(60, lambda: given_up.append("patient")), Wait(0, lambda: given_up.append("quiet"))
    quiet.since = NOT_WAITING
    for wait in (patient, quiet, Wait(0.01, lambda: given_up.append("late")), Wait(0.04, is_over.set)):
        watchdog.watch(wait)
    await is_over.wait()
    assert (given_up, watchdog._waits) == (["late"], {patient, quiet})
    watchdog.unwatch(patient)
    watchdog.unwatch(quiet)
    await eventually(lambda: not watchdog._is_scheduled)
