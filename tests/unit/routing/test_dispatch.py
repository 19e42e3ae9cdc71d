"""Slots, waiting and hints, in virtual time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from shared.adapters.documents.routing import DocumentHints
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.application.background import Background
from shared.application.ports.routing import Hint
from shared.application.routing.backend_slot import BackendSlot
from shared.application.routing.dispatch import Dispatcher
from shared.application.routing.fair_queue import WaitingPolicy
from shared.application.routing.tenant_turns import TenantTurns
from shared.domain.errors import BackendUnavailable, RateLimitExceeded, ResidencyViolation, StorageUnavailable
from shared.domain.routing.answer import classify
from shared.domain.routing.backend_health import BreakerPolicy, BreakerState
from shared.domain.routing.catalog import Backend, Catalog, Deployment
from shared.domain.routing.residency import Residency
from shared.domain.routing.selection import Pool
from shared.domain.tenancy.tenant import Tenant
from tests.tools.ledgers import NOW
from tests.tools.virtual_time import VirtualClock, run_in_virtual_time

OK: list[tuple[bytes, bytes]] = []


def virtually(test: Callable[[], Coroutine[Any, Any, None]]) -> Callable[[], None]:
    """Run a test in virtual time."""

    def run() -> None:
        run_in_virtual_time(test())

    run.__doc__ = test.__doc__
    return run


class Process:
    """The dispatcher and the tenant turns of one gateway process, over hints that processes share."""

    def __init__(
        self,
        *backends: Backend,
        documents: InMemoryDocuments | None = None,
        name: str = "one",
        tenant_share: float = 1.0,
        **waiting: Any,
    ) -> None:
        self.clock = VirtualClock(NOW)
        self.background = Background()
        self.hints = DocumentHints(documents or InMemoryDocuments())
        policy = WaitingPolicy(**{"seconds": 10.0, "max_waiting": 100, **waiting})
        self.dispatcher = Dispatcher(
            self.clock, self.background, self.hints, name, policy, BreakerPolicy(), tenant_share
        )
        self.turns = TenantTurns(policy)
        names = tuple(each.backend_id for each in backends)
        self.deployment = Deployment(name="d", backends=names)
        self.catalog = Catalog({"d": self.deployment}, {each.backend_id: each for each in backends})

    def pool(self, tenant: Tenant | None = None, same_resource_as: str = "") -> Pool:
        return self.dispatcher.pool(self.catalog, tenant or ACME, self.deployment, same_resource_as)

    async def slot(self, tenant: Tenant | None = None, **how: Any) -> BackendSlot:
        return await self.dispatcher.wait_for_slot(self.pool(), tenant or ACME, 10, **how)

    def state(self, name: str) -> BreakerState:
        return self.dispatcher.health(self.catalog.backends[name]).state(self.clock.monotonic())


def backend(name: str, **more: Any) -> Backend:
    return replace(
        Backend(
            backend_id=name,
            endpoint=f"https://{name}.invalid",
            upstream_deployment="d",
            model="m",
            region="swedencentral",
            zone="eu",
        ),
        **more,
    )


ACME, OTHER = (
    Tenant(tenant_id="acme", name="Acme", created_at=NOW),
    Tenant(tenant_id="other", name="Other", created_at=NOW),
)


@dataclass(frozen=True)
class Head:
    """The head of a backend's answer."""

    status: int
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)


def used(slot: BackendSlot, status: int = 200, headers: list[tuple[bytes, bytes]] = OK) -> None:
    slot.judge(classify(Head(status, headers)), headers)
    slot.release()


@virtually
async def test_a_ready_backend_gives_a_slot_at_once_and_counts_it_until_released() -> None:
    process = Process(backend("a"))
    slot = await process.slot()
    assert (slot.backend.backend_id, slot.health.in_flight, slot.is_probe) == ("a", 1, False)
    used(slot)
    assert (slot.health.in_flight, slot.health.requests, slot.health.latency_seconds) == (0, 1, 0.0)


@virtually
async def test_a_request_waits_for_a_slot_and_later_ones_wait_behind_it() -> None:
    process = Process(backend("a", max_concurrent_requests=1))
    held = await process.slot()
    served: list[int] = []

    async def one(number: int) -> None:
        slot = await process.slot()
        served.append(number)
        await asyncio.sleep(1)
        used(slot)

    tasks = [asyncio.create_task(one(number)) for number in range(3)]
    await asyncio.sleep(2)
    assert served == []
    used(held)
    await asyncio.gather(*tasks)
    assert served == [0, 1, 2]
    assert process.clock.monotonic() == 5
    assert not process.dispatcher._queues


@virtually
async def test_a_request_waits_until_a_refusal_is_over() -> None:
    process = Process(backend("a"))
    used(await process.slot(), 429, [(b"retry-after-ms", b"1500")])
    slot = await process.slot()
    assert process.clock.monotonic() == 1.5
    used(slot)
    assert not process.dispatcher._timers


@virtually
async def test_a_request_that_would_wait_in_vain_is_refused_at_once_with_the_time_to_wait() -> None:
    process = Process(backend("a"), backend("b"))
    for seconds in (b"30", b"20"):
        used(await process.slot(), 429, [(b"retry-after", seconds)])
    with pytest.raises(BackendUnavailable) as refused:
        await process.slot()
    assert (refused.value.retry_after_seconds, process.clock.monotonic()) == (20, 0)
    with pytest.raises(BackendUnavailable):
        await process.slot(tried={"a", "b"})


@virtually
async def test_a_request_in_a_queue_that_is_too_slow_is_refused_at_once_with_the_expected_time() -> None:
    process = Process(backend("a", max_concurrent_requests=2), seconds=9.0)
    for _ in range(2):
        slot = await process.slot()
        await asyncio.sleep(4)
        used(slot)
    held = [await process.slot(), await process.slot()]
    waiting = [asyncio.create_task(process.slot()) for _ in range(4)]
    await asyncio.sleep(0)
    with pytest.raises(BackendUnavailable) as refused:
        await process.slot()
    assert refused.value.retry_after_seconds == pytest.approx(10)
    assert process.clock.monotonic() == 8
    for slot in held:
        used(slot)
    for task in waiting:
        used(await task)


@virtually
async def test_no_request_waits_longer_than_allowed() -> None:
    process = Process(backend("a", max_concurrent_requests=1), seconds=3.0)
    held = await process.slot()
    with pytest.raises(BackendUnavailable):
        await process.slot()
    assert process.clock.monotonic() == 3
    with pytest.raises(BackendUnavailable):
        await process.slot(seconds=1)
    assert process.clock.monotonic() == 4
    assert not process.dispatcher._queues
    used(held)
    with pytest.raises(BackendUnavailable):
        await Process(backend("a", max_concurrent_requests=1), max_waiting=0, seconds=3.0).dispatcher.wait_for_slot(
            _full(process), ACME, 0
        )


def _full(process: Process) -> Pool:
    pool = process.pool()
    pool.candidates[0].health.started(0, 0)
    return pool


@virtually
async def test_a_tenant_cannot_hold_all_places_of_a_backend() -> None:
    process = Process(backend("a", max_concurrent_requests=4), tenant_share=0.5)
    first, second = await process.slot(), await process.slot()
    waiting = [asyncio.create_task(process.slot()) for _ in range(3)]
    await asyncio.sleep(0)
    others = [await process.slot(OTHER), await process.slot(OTHER)]  # they overtake who waits for its own places
    assert process.clock.monotonic() == 0
    assert [task.done() for task in waiting] == [False] * 3
    used(others[0])
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    for slot in (first, second, others[1]):
        used(slot)
    served = [await waiting[0], await waiting[1]]
    used(served[0])
    used(await waiting[2])
    used(served[1])
    assert (process.dispatcher._shares._held, process.dispatcher._shares.full) == ({}, {})


@virtually
async def test_a_tenant_may_hold_the_only_place_and_places_of_several_backends() -> None:
    process = Process(
        backend("a", max_concurrent_requests=1), backend("b", max_concurrent_requests=2), tenant_share=0.9
    )
    slots = [await process.slot(), await process.slot()]
    assert {slot.backend.backend_id for slot in slots} == {"a", "b"}
    used(slots[0])
    used(slots[1])


@virtually
async def test_nobody_overtakes_those_who_wait_for_free_places() -> None:
    process = Process(backend("a", max_concurrent_requests=1), tenant_share=0.9)
    held = await process.slot()
    waiting = [asyncio.create_task(process.slot()) for _ in range(9)]
    await asyncio.sleep(0)
    late = asyncio.create_task(process.slot())
    await asyncio.sleep(0)
    used(held)
    for each in waiting:
        used(await each)
    used(await late)


@virtually
async def test_a_caller_that_hangs_up_leaves_the_queue() -> None:
    process = Process(backend("a", max_concurrent_requests=1))
    held = await process.slot()
    gone, stays = asyncio.create_task(process.slot()), asyncio.create_task(process.slot())
    await asyncio.sleep(0)
    gone.cancel()
    used(held)
    slot = await stays
    assert gone.cancelled()
    assert slot.health.in_flight == 1
    used(slot)


@virtually
async def test_no_request_waits_behind_one_that_waits_for_another_backend() -> None:
    process = Process(backend("a"), backend("b", max_concurrent_requests=1))
    held = await process.slot(tried={"a"})
    picky = asyncio.create_task(process.slot(tried={"a"}))
    await asyncio.sleep(1)
    slot = await process.slot()
    assert (slot.backend.backend_id, process.clock.monotonic()) == ("a", 1)
    used(held)
    used(await picky)
    used(slot)


@virtually
async def test_a_noisy_tenant_cannot_starve_another() -> None:
    process = Process(backend("a", max_concurrent_requests=2), seconds=1000.0, max_waiting=1000)
    waits: dict[str, list[float]] = {"acme": [], "other": []}

    async def one(tenant: Tenant) -> None:
        began = process.clock.monotonic()
        slot = await process.slot(tenant)
        waits[tenant.tenant_id].append(process.clock.monotonic() - began)
        await asyncio.sleep(1)
        used(slot)

    noisy = [asyncio.create_task(one(ACME)) for _ in range(200)]
    await asyncio.sleep(0.5)
    for _ in range(10):
        await one(OTHER)
    await asyncio.gather(*noisy)
    assert max(waits["other"]) <= 1, "the next free slot goes to the other tenant"
    assert max(waits["acme"]) > 90


@virtually
async def test_slots_are_shared_by_the_priority_of_tenants() -> None:
    process = Process(backend("a", max_concurrent_requests=1), seconds=1000.0, max_waiting=1000)
    served: list[str] = []

    async def one(tenant: Tenant) -> None:
        slot = await process.slot(tenant)
        served.append(tenant.tenant_id)
        await asyncio.sleep(1)
        used(slot)

    urgent = replace(OTHER, priority=4)
    await asyncio.gather(*(one(tenant) for tenant in (ACME, urgent) for _ in range(40)))
    assert Counter(served[1:51]) == {"other": 40, "acme": 10}


@virtually
async def test_a_tenant_has_a_limited_number_of_requests_at_once() -> None:
    process = Process(backend("a"), seconds=5.0)
    tenant = replace(ACME, max_concurrent_requests=2)
    assert await process.turns.wait(ACME) is None
    first, second = [await process.turns.wait(tenant) for _ in range(2)]
    assert first is not None
    assert second is not None
    third, fourth = (asyncio.create_task(process.turns.wait(tenant)) for _ in range(2))
    await asyncio.sleep(1)
    first()
    release = await third
    assert release is not None
    assert process.clock.monotonic() == 1
    fourth.cancel()
    with pytest.raises(RateLimitExceeded) as refused:
        await process.turns.wait(tenant)
    assert (refused.value.retry_after_seconds, process.clock.monotonic()) == (1, 6)
    second()
    release()
    assert (process.turns._under_way, process.turns._queues) == ({}, {})


@virtually
async def test_a_request_that_waits_for_a_probe_is_refused_as_soon_as_it_fails() -> None:
    process = Process(backend("a"))
    now = process.clock.monotonic()
    health = process.dispatcher.health(process.catalog.backends["a"])
    for _ in range(6):
        health.failed(now, "status 500", is_probe=True)
    await asyncio.sleep(1)
    probe = await process.slot()
    assert probe.is_probe
    waiting = asyncio.create_task(process.slot())
    await asyncio.sleep(2)
    used(probe, 500)
    with pytest.raises(BackendUnavailable) as refused:
        await waiting
    assert (refused.value.retry_after_seconds, process.clock.monotonic()) == (60, 3)


@virtually
async def test_a_process_knows_the_findings_of_another_before_its_first_request() -> None:
    documents = InMemoryDocuments()
    one = Process(backend("a"), backend("b"), documents=documents)
    two = Process(backend("a"), backend("b"), documents=documents, name="two")
    for _ in range(3):
        used(await one.slot(tried={"b"}), 500)
    await one.background.drain()
    (hint,) = (await one.hints.load()).readable
    assert (hint.backend_id, hint.instance, hint.down_until) == ("a", "one", NOW + timedelta(seconds=5))
    for process in (one, two):
        process.dispatcher.apply_hints([hint, replace(hint, backend_id="unknown")], process.catalog.backends)
    assert (two.state("a"), two.dispatcher.health(two.catalog.backends["a"]).is_hinted) == (BreakerState.OPEN, True)
    assert not one.dispatcher.health(one.catalog.backends["a"]).is_hinted
    used(await two.slot(), 429, [(b"retry-after-ms", b"100")])
    await two.background.drain()
    assert (await one.hints.load()).readable == [hint], "findings of others and short refusals are not stored"


@virtually
async def test_a_recovery_is_stored_too() -> None:
    documents = InMemoryDocuments()
    one = Process(backend("a"), documents=documents)
    two = Process(backend("a"), documents=documents, name="two")
    used(await one.slot(), 401)
    await one.background.drain()
    two.dispatcher.apply_hints((await one.hints.load()).readable, two.catalog.backends)
    assert two.state("a") is BreakerState.OPEN
    await asyncio.sleep(60)
    used(await one.slot())
    await one.background.drain()
    (hint,) = (await one.hints.load()).readable
    assert hint == Hint(
        backend_id="a",
        instance="one",
        noted_at=NOW + timedelta(seconds=60),
        down_until=NOW + timedelta(seconds=60),
        reason="",
    )
    two.dispatcher.apply_hints([hint], two.catalog.backends)
    assert two.state("a") is BreakerState.CLOSED


@virtually
async def test_a_waiting_request_proceeds_once_another_process_finds_a_backend_up() -> None:
    process = Process(backend("a"), seconds=9.0)
    hint = Hint(
        backend_id="a", instance="another", noted_at=NOW, down_until=NOW + timedelta(seconds=5), reason="status 500"
    )
    process.dispatcher.apply_hints([hint], process.catalog.backends)
    waiting = asyncio.create_task(process.slot())
    await asyncio.sleep(1)
    process.dispatcher.apply_hints([replace(hint, down_until=NOW)], process.catalog.backends)
    used(await waiting)
    assert process.clock.monotonic() == 1


@virtually
async def test_hints_that_cannot_be_stored_stop_no_request() -> None:
    process = Process(backend("a"))

    class NoStore:
        async def put(self, _: Hint) -> None:
            raise StorageUnavailable

    process.dispatcher._hints.store = NoStore()  # type: ignore[assignment]
    used(await process.slot(), 403)
    await process.background.drain()
    assert process.state("a") is BreakerState.OPEN


@virtually
async def test_a_backend_at_another_address_is_another_backend() -> None:
    process = Process(backend("a"))
    used(await process.slot(), 401)
    assert process.state("a") is BreakerState.OPEN
    process.catalog = Catalog({"d": process.deployment}, {"a": backend("a", endpoint="https://mended.invalid")})
    used(await process.slot())
    assert process.state("a") is BreakerState.CLOSED


@virtually
async def test_pools_are_kept_until_the_catalog_changes() -> None:
    process = Process(backend("a"), backend("b", weight=0))
    pool = process.pool()
    assert [each.backend.backend_id for each in pool.candidates] == ["a"]
    process.catalog = replace(process.catalog)
    assert process.pool() is pool
    process.catalog = replace(process.catalog, backends={**process.catalog.backends, "b": backend("b")})
    assert [each.backend.backend_id for each in process.pool().candidates] == ["a", "b"]
    same_resource_as = process.pool(same_resource_as="https://b.invalid")
    assert [each.backend.backend_id for each in same_resource_as.candidates] == ["b"]
    own = replace(ACME, pools={"d": ("b",)})
    assert [each.backend.backend_id for each in process.pool(own).candidates] == ["b"]


@virtually
async def test_an_empty_pool_raises_another_error_than_one_outside_the_residency() -> None:
    process = Process(backend("a"))
    with pytest.raises(ResidencyViolation):
        process.pool(replace(ACME, residency=Residency(("us",), allow_global=False)))
    process.catalog = Catalog({"d": process.deployment}, {"a": backend("a", weight=0)})
    with pytest.raises(BackendUnavailable):
        process.pool()
    assert [each.backend.weight for each in process.pool(same_resource_as="https://a.invalid").candidates] == [0]


@virtually
async def test_an_attempt_that_ends_without_an_answer_leaves_the_probe_to_another() -> None:
    process = Process(backend("a"))
    for _ in range(3):
        slot = await process.slot()
        slot.failed("it broke")
        slot.release()
    await asyncio.sleep(5)
    slot = await process.slot()
    assert slot.is_probe
    slot.release()
    slot = await process.slot()
    assert slot.is_probe
    slot.judge(classify(Head(404), b"DeploymentNotFound"), OK)
    slot.release()
    assert process.state("a") is BreakerState.OPEN
    assert slot.health.is_misconfigured


@pytest.mark.parametrize(
    ("headers", "requests", "tokens"),
    [
        ([], 7, 7),
        ([(b"x-ratelimit-remaining-requests", b"3"), (b"x-ratelimit-remaining-tokens", b"99")], 3, 99),
        ([(b"x-ratelimit-remaining-requests", b"0"), (b"x-ratelimit-limit-requests", b"60")], 0, None),
        ([(b"x-ratelimit-remaining-requests", b"0"), (b"x-ratelimit-limit-requests", b"0")], None, None),
        ([(b"x-ratelimit-remaining-tokens", b"-1"), (b"x-ratelimit-limit-tokens", b"-1")], None, None),
        ([(b"x-ratelimit-remaining-tokens", b"5"), (b"x-ratelimit-limit-tokens", b"-1")], None, None),
        ([(b"x-ratelimit-remaining-tokens", b"9" * 5000)], None, None),
    ],
)
def test_remaining_requests_and_tokens_are_read_if_there_is_a_limit(
    headers: list[tuple[bytes, bytes]], requests: int | None, tokens: int | None
) -> None:
    async def one() -> None:
        slot = await Process(backend("a")).slot()
        slot.health.note_headroom(-1, 7, 7)
        slot.judge(classify(Head(400, headers)), headers)
        assert (slot.health.remaining_requests, slot.health.remaining_tokens) == (requests, tokens)

    run_in_virtual_time(one())
