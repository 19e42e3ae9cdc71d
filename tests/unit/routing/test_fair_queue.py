"""The fair queue: order of service, refusals, and that no slot is lost."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from shared.application.routing.fair_queue import FairQueue, QueueFull
from shared.domain.errors import ClientDisconnected


class Places:
    """A limited number of slots with a queue."""

    def __init__(self, free: int = 0, most: int = 100) -> None:
        self.free = free
        self.served: list[str] = []
        self.queue: FairQueue[str] = FairQueue(most, self.give_back)

    def take(self, name: str) -> str | None:
        if not self.free:
            return None
        self.free -= 1
        self.served.append(name)
        return name

    def give_back(self, name: str) -> None:
        self.free += 1
        self.served.remove(name)

    def wait(self, flow: str, weight: int = 1, seconds: float = 60) -> asyncio.Task[str]:
        return asyncio.ensure_future(self.queue.wait(flow, weight, lambda: self.take(flow), seconds))

    async def free_up(self, count: int) -> None:
        await asyncio.sleep(0)
        self.free += count
        self.queue.advance()


async def test_a_flow_with_few_waiting_requests_is_served_before_one_with_many() -> None:
    places = Places()
    tasks = [places.wait("noisy") for _ in range(50)]
    await asyncio.sleep(0)
    tasks.append(places.wait("quiet"))
    await places.free_up(3)
    assert places.served == ["noisy", "quiet", "noisy"]
    await places.free_up(48)
    assert Counter(await asyncio.gather(*tasks)) == {"noisy": 50, "quiet": 1}
    assert len(places.queue) == 0


async def test_turns_are_shared_by_weight() -> None:
    places = Places()
    tasks = [places.wait(flow, weight) for flow, weight in (("light", 1), ("heavy", 3)) for _ in range(40)]
    await places.free_up(40)
    assert Counter(places.served) == {"heavy": 30, "light": 10}
    await places.free_up(40)
    await asyncio.gather(*tasks)


async def test_a_new_flow_takes_turns_with_an_old_one_at_once() -> None:
    places = Places()
    first = [places.wait("old") for _ in range(9)]
    await places.free_up(8)
    late = places.wait("new")
    await asyncio.sleep(0)
    assert places.queue.ahead_of("newest", 1) == 2
    await places.free_up(2)
    assert places.served[-2:] == ["old", "new"]
    await asyncio.gather(*first, late)


async def test_a_request_that_is_cancelled_or_waits_too_long_leaves_the_queue() -> None:
    places = Places()
    gone, late, patient = places.wait("a"), places.wait("b", seconds=0.001), places.wait("c")
    await asyncio.sleep(0)
    gone.cancel()
    with pytest.raises(TimeoutError):
        await late
    await places.free_up(2)
    assert (await patient, places.served, places.free) == ("c", ["c"], 1)
    assert gone.cancelled()


async def test_a_slot_given_to_a_request_that_leaves_at_that_moment_is_taken_back() -> None:
    places = Places()
    waiting = places.wait("a")
    await places.free_up(1)
    assert places.served == ["a"]
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (places.free, places.served) == (1, [])


async def test_a_full_queue_refuses_the_request_that_would_be_served_last() -> None:
    places = Places(most=2)
    first, second = places.wait("noisy"), places.wait("noisy")
    await asyncio.sleep(0)
    with pytest.raises(QueueFull):
        await places.wait("noisy")
    quiet = places.wait("quiet")
    with pytest.raises(QueueFull):
        await second
    await places.free_up(2)
    assert [await first, await quiet] == ["noisy", "quiet"]
    with pytest.raises(QueueFull):
        await Places(most=0).wait("a")


async def test_requests_that_cannot_be_served_are_passed_over_up_to_a_limit() -> None:
    places = Places()

    def never() -> str | None:
        return None

    stuck = [asyncio.ensure_future(places.queue.wait(f"s{number}", 1, never, 60)) for number in range(7)]
    await asyncio.sleep(0)
    able = places.wait("able")
    await places.free_up(1)
    assert await able == "able"
    stuck.append(asyncio.ensure_future(places.queue.wait("s7", 1, never, 60)))
    await asyncio.sleep(0)
    behind = places.wait("behind")
    await places.free_up(1)
    assert not behind.done(), "the queue is not searched to its end, which would cost too much"
    for task in [*stuck, behind]:
        task.cancel()
    await asyncio.gather(*stuck, behind, return_exceptions=True)
    assert len(places.queue) == 0


async def test_a_caller_that_hangs_up_is_not_served() -> None:
    places, wait_for_disconnect = Places(), asyncio.Event()
    gone = asyncio.ensure_future(places.queue.wait("a", 1, lambda: places.take("a"), 60, wait_for_disconnect.wait))
    await asyncio.sleep(0)
    stays = places.wait("b")
    wait_for_disconnect.set()
    with pytest.raises(ClientDisconnected):
        await gone
    await places.free_up(1)
    assert await stays == "b"


async def test_a_served_caller_is_no_longer_watched() -> None:
    places, wait_for_disconnect = Places(), asyncio.Event()
    served = asyncio.ensure_future(places.queue.wait("a", 1, lambda: places.take("a"), 60, wait_for_disconnect.wait))
    await asyncio.sleep(0)
    await places.free_up(1)
    assert await served == "a"
    await asyncio.sleep(0)
    assert not any(task for task in asyncio.all_tasks() if task is not asyncio.current_task())


async def test_all_waiting_requests_can_be_refused() -> None:
    places = Places()
    waiting = [places.wait("a"), places.wait("b")]
    await asyncio.sleep(0)
    waiting[0].cancel()
    places.queue.refuse_all()
    for result in await asyncio.gather(*waiting, return_exceptions=True):
        assert isinstance(result, asyncio.CancelledError | QueueFull)
    assert len(places.queue) == 0


async def test_a_request_refused_and_cancelled_at_once_gives_no_slot_back() -> None:
    places = Places()
    waiting = places.wait("a")
    await asyncio.sleep(0)
    places.queue.refuse_all()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert places.free == 0
