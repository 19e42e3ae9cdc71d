"""Values that are cached for a while."""

from __future__ import annotations

import asyncio

import pytest

from shared.application.cached_value import Cached
from shared.domain.errors import StorageUnavailable
from tests.tools.ledgers import ManualClock


class Source:
    """Counts loads, and fails if a test says so."""

    def __init__(self) -> None:
        self.loads = 0
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def load(self) -> int:
        self.loads += 1
        number = self.loads
        await self.gate.wait()
        if self.error:
            raise self.error
        return number


@pytest.fixture
def source() -> Source:
    return Source()


async def test_a_fresh_value_is_not_loaded_again(source: Source) -> None:
    clock = ManualClock()
    cached = Cached(source.load, clock)
    assert await asyncio.gather(*(cached.get() for _ in range(5))) == [1] * 5
    clock.seconds = 9
    assert await cached.get() == 1


async def test_an_aging_value_is_served_while_it_is_refreshed_once(source: Source) -> None:
    clock = ManualClock()
    cached = Cached(source.load, clock)
    await cached.get()
    clock.seconds = 11
    source.gate.clear()
    assert [await cached.get(), await cached.get()] == [1, 1]
    source.gate.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (await cached.get(), source.loads) == (2, 2)


async def test_callers_wait_for_a_value_that_is_too_old_and_get_its_error(source: Source) -> None:
    clock = ManualClock()
    cached = Cached(source.load, clock)
    await cached.get()
    source.error = StorageUnavailable()
    clock.seconds = 11
    assert await cached.get() == 1
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    clock.seconds = 26
    with pytest.raises(StorageUnavailable):
        await cached.get()
    source.error = None
    assert await cached.get() == 4


async def test_an_unexpected_failure_in_the_background_is_reported(source: Source) -> None:
    reported: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported.append(context["exception"]))
    cached = Cached(source.load, ManualClock())
    source.error = KeyError("bug")
    with pytest.raises(KeyError):
        await cached.get()
    await asyncio.sleep(0)
    assert reported == [source.error]


async def test_a_value_invalidated_during_a_load_is_loaded_again(source: Source) -> None:
    cached = Cached(source.load, ManualClock())
    source.gate.clear()
    early = asyncio.create_task(cached.get())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    cached.invalidate()
    source.gate.set()
    assert await cached.get() == 2
    assert await early == 1
    assert await cached.get() == 2


async def test_a_value_that_was_read_too_long_ago_is_not_returned_by_a_load_that_took_longer(source: Source) -> None:
    clock = ManualClock()
    cached = Cached(source.load, clock)
    source.gate.clear()
    waiting = asyncio.create_task(cached.get())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    clock.seconds = 26
    source.gate.set()
    with pytest.raises(StorageUnavailable, match="too late"):
        await waiting
    assert (await cached.get(), source.loads) == (2, 2)
