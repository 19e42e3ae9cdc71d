"""Give each request a backend: at once where one is ready and has room, else after a short wait in a fair queue.

What is known of the backends is this process's own, and what others published of backends that are down (hints), so
that a process that has just started does not find out by its own requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import Final

from shared.application.background import Background
from shared.application.ports.clock import Clock
from shared.application.ports.routing import Hint, HintStore
from shared.application.routing.backend_slot import BackendSlot
from shared.application.routing.fair_queue import FairQueue, QueueFull, WaitForDisconnect
from shared.domain.errors import (
    BackendUnavailable,
    RateLimitExceeded,
    ResidencyViolation,
    StorageUnavailable,
)
from shared.domain.routing.backend_health import BackendHealth, BreakerPolicy, Transitions
from shared.domain.routing.catalog import Backend, Catalog, Deployment
from shared.domain.routing.selection import Candidate, Pool
from shared.domain.tenancy.tenant import Tenant
from shared.domain.values import value

_BUSY: Final = "Every backend of the deployment is busy. Retry later."
_WORTH_A_HINT_SECONDS: Final = 2.0
_SOON_SECONDS: Final = 1.0
_LEAST_RETRY_SECONDS: Final = 1.0


@value
class WaitingPolicy:
    """How long a request may wait for a backend or for its tenant's turn, and how many may wait at once."""

    seconds: float
    at_most: int


class Dispatcher:
    """What one process knows of its backends, and who waits for them."""

    def __init__(
        self,
        clock: Clock,
        background: Background,
        hints: HintStore,
        instance: str,
        waiting: WaitingPolicy,
        breaker: BreakerPolicy,
    ) -> None:
        self._clock = clock
        self._background = background
        self._hints = hints
        self._instance = instance
        self._waiting = waiting
        self._breaker = breaker
        self._transitions = Transitions()
        self._seen = 0
        self._hinted_until: dict[str, float] = {}
        self._healths: dict[str, tuple[tuple[str, str], BackendHealth]] = {}
        self._catalog = Catalog()
        self._pools: dict[tuple[str, tuple[str, ...], bool, tuple[str, ...] | None, str], Pool] = {}
        self._queues: dict[Pool, FairQueue[BackendSlot]] = {}
        self._timers: dict[Pool, asyncio.TimerHandle] = {}
        self._tenants: dict[str, int] = {}
        self._tenant_queues: dict[str, FairQueue[str]] = {}

    def health(self, backend: Backend) -> BackendHealth:
        """What is known of a backend. One that was moved to another resource or deployment begins anew."""
        address = (backend.endpoint, backend.upstream_deployment)
        known_address, health = self._healths.get(backend.backend_id, (None, None))
        if health is None or known_address != address:
            health = BackendHealth(backend_id=backend.backend_id, transitions=self._transitions, policy=self._breaker)
            self._healths[backend.backend_id] = (address, health)
        health.max_concurrent_requests = backend.max_concurrent_requests
        return health

    def pool(self, catalog: Catalog, tenant: Tenant, deployment: Deployment, same_resource_as: str = "") -> Pool:
        """Who may serve a tenant's requests to a deployment; with `beside` only within the resource of that endpoint.

        Raises `ResidencyViolation`, and `BackendUnavailable` where nothing is configured or all is drained.
        """
        if catalog is not self._catalog:
            if catalog != self._catalog:
                self._pools.clear()
            self._catalog = catalog
        zones, allow_global = tenant.residency.zones, tenant.residency.allow_global
        key = (deployment.name, zones, allow_global, tenant.pools.get(deployment.name), same_resource_as)
        known = self._pools.get(key)
        if known is None:
            known = self._pools[key] = self._new_pool(catalog, tenant, deployment, same_resource_as)
        return known

    def take_slot(
        self, pool: Pool, tokens: int, tried: Collection[str] = (), affinity_point: float | None = None
    ) -> BackendSlot | None:
        """A backend that can serve a request of so many tokens now."""
        now = self._clock.monotonic()
        chosen = pool.choose(now, tokens, tried, affinity_point)
        if chosen is None:
            return None
        is_probe = chosen.health.started(now, tokens)
        return BackendSlot(
            chosen.backend, chosen.health, now, self._clock, self._queues, self._on_change, is_probe=is_probe
        )

    def take_slot_now(
        self, pool: Pool, tokens: int, tried: Collection[str] = (), affinity_point: float | None = None
    ) -> BackendSlot | None:
        """A backend for a request, if one is ready and nobody waits for it."""
        return None if pool in self._queues else self.take_slot(pool, tokens, tried, affinity_point)

    async def wait_for_slot(
        self,
        pool: Pool,
        tenant: Tenant,
        tokens: int,
        tried: Collection[str] = (),
        affinity_point: float | None = None,
        seconds: float | None = None,
        wait_for_disconnect: WaitForDisconnect | None = None,
    ) -> BackendSlot:
        """A backend for a request, now or after at most `seconds` (else as long as any request may wait).

        Whoever is cancelled, or whose caller `wait_for_disconnect`, leaves the queue. Raises `BackendUnavailable`, at once where
        waiting would be in vain.
        """
        slot = self.take_slot_now(pool, tokens, tried, affinity_point)
        if slot is not None:
            return slot
        allowed = self._waiting.seconds if seconds is None else min(seconds, self._waiting.seconds)
        expected = self._expected_seconds(pool, tenant, tried)
        if expected is not None and expected <= allowed and allowed > 0:
            try:
                take = partial(self.take_slot, pool, tokens, tried, affinity_point)
                return await self._wait(pool, tenant, take, allowed, wait_for_disconnect)
            except (TimeoutError, QueueFull):
                expected = self._expected_seconds(pool, tenant, tried)
        raise BackendUnavailable(_BUSY, max(self.retry_after_seconds(pool), expected or 0.0))

    async def wait_for_turn(
        self, tenant: Tenant, wait_for_disconnect: WaitForDisconnect | None = None
    ) -> Callable[[], None] | None:
        """Wait for the tenant's turn, if it may have only so many requests at once; what is to be called at the end.

        Raises `RateLimitExceeded`, and `ClientDisconnected`.
        """
        most = tenant.max_concurrent_requests
        if most is None:
            return None
        tenant_id = tenant.tenant_id
        take_turn = partial(self._take_turn, tenant_id, most)
        if take_turn() is None:
            queue = self._tenant_queues.setdefault(tenant_id, FairQueue(self._waiting.at_most, self._end_turn))
            try:
                await queue.wait(tenant_id, 1, take_turn, self._waiting.seconds, wait_for_disconnect)
            except (TimeoutError, QueueFull):
                raise RateLimitExceeded(
                    f"The tenant has {most} requests under way, which is as many as it may have at once.", _SOON_SECONDS
                ) from None
        return partial(self._end_turn, tenant_id)

    def apply_hints(self, hints: Iterable[Hint], backends: Mapping[str, Backend]) -> None:
        """Take in what other processes published. Who waits may go ahead."""
        wall, now = self._clock.now(), self._clock.monotonic()
        for hint in hints:
            backend = backends.get(hint.backend_id)
            if backend is not None and hint.instance != self._instance:
                down_seconds = (hint.down_until - wall).total_seconds()
                seconds_ago = (wall - hint.noted_at).total_seconds()
                self.health(backend).apply_hint(now, down_seconds, hint.reason, seconds_ago=seconds_ago)
        self._advance_all()

    def retry_after_seconds(self, pool: Pool) -> float:
        """What a caller is told who could not be served: when the first backend may be ready."""
        return max(_LEAST_RETRY_SECONDS, pool.seconds_until_ready(self._clock.monotonic()) or 0.0)

    def _new_pool(self, catalog: Catalog, tenant: Tenant, deployment: Deployment, same_resource_as: str) -> Pool:
        configured = catalog.pool(deployment, tenant.pools.get(deployment.name))
        configured = [
            (fallback_index, backend) for fallback_index, backend in configured if backend.weight or same_resource_as
        ]
        if not configured:
            raise BackendUnavailable(
                f"No backend serves the deployment '{deployment.name}': none is configured, or all are drained."
            )
        allowed = [
            Candidate(backend, self.health(backend), fallback_index)
            for fallback_index, backend in configured
            if backend.placement.objection(tenant.residency) is None
        ]
        if not allowed:
            raise ResidencyViolation(
                f"No backend of the deployment '{deployment.name}' lies where this tenant's data may be processed."
            )
        return Pool([each for each in allowed if same_resource_as in ("", each.backend.endpoint)], self._transitions)

    def _expected_seconds(self, pool: Pool, tenant: Tenant, tried: Collection[str]) -> float | None:
        """How long a request would have to wait, as far as that can be told; `None` for ever."""
        ready = pool.seconds_until_ready(self._clock.monotonic(), tried)
        queue = self._queues.get(pool)
        pace = pool.requests_per_second
        if ready is None or pace is None:
            return ready
        ahead = queue.ahead_of(tenant.tenant_id, tenant.priority) if queue else 0
        return max(ready, (ahead + 1) / pace)

    async def _wait(
        self,
        pool: Pool,
        tenant: Tenant,
        take: Callable[[], BackendSlot | None],
        seconds: float,
        wait_for_disconnect: WaitForDisconnect | None,
    ) -> BackendSlot:
        queue = self._queues.setdefault(pool, FairQueue(self._waiting.at_most, BackendSlot.release))
        self._look_later(pool)
        try:
            return await queue.wait(tenant.tenant_id, tenant.priority, take, seconds, wait_for_disconnect)
        finally:
            if not queue and self._queues.get(pool) is queue:
                self._forget(pool)

    def _on_change(self, health: BackendHealth) -> None:
        """Something changed for those who wait, and perhaps for other processes."""
        self._advance_all()
        if self._transitions.count != self._seen:
            self._seen = self._transitions.count
            self._publish_news(health)

    def _advance_all(self) -> None:
        for pool in [*self._queues]:
            self._advance(pool)

    def _advance(self, pool: Pool) -> None:
        queue, seconds = self._queues[pool], pool.seconds_until_ready(self._clock.monotonic())
        queue.advance()
        if seconds is not None and seconds > self._waiting.seconds:
            queue.refuse_all()
        self._look_later(pool)

    def _look_later(self, pool: Pool) -> None:
        """No event tells that a breaker's time is over."""
        timer = self._timers.pop(pool, None)
        if timer is not None:
            timer.cancel()
        seconds = pool.seconds_until_next_try(self._clock.monotonic())
        if seconds is not None:
            self._timers[pool] = asyncio.get_running_loop().call_later(seconds, self._advance, pool)

    def _forget(self, pool: Pool) -> None:
        del self._queues[pool]
        timer = self._timers.pop(pool, None)
        if timer is not None:
            timer.cancel()

    def _take_turn(self, tenant_id: str, most: int) -> str | None:
        under_way = self._tenants.get(tenant_id, 0)
        if under_way >= most:
            return None
        self._tenants[tenant_id] = under_way + 1
        return tenant_id

    def _end_turn(self, tenant_id: str) -> None:
        self._tenants[tenant_id] -= 1
        queue = self._tenant_queues.get(tenant_id)
        if queue:
            queue.advance()
        if not queue:
            self._tenant_queues.pop(tenant_id, None)
        if not self._tenants[tenant_id]:
            del self._tenants[tenant_id]

    def _publish_news(self, health: BackendHealth) -> None:
        """Publish what other processes would have to find out: that a backend is down for a while, or up again."""
        open_until, told_until = health.open_until, self._hinted_until.get(health.backend_id, 0.0)
        down_seconds = 0.0 if open_until is None else open_until - self._clock.monotonic()
        if open_until is None:
            is_news = told_until > 0
        else:
            is_longer = open_until - told_until >= _WORTH_A_HINT_SECONDS
            is_news = is_longer and down_seconds >= _WORTH_A_HINT_SECONDS and not health.is_hinted
        if is_news:
            self._hinted_until[health.backend_id] = open_until or 0.0
            self._background.start(self._publish(health, down_seconds))

    async def _publish(self, health: BackendHealth, down_seconds: float) -> None:
        now = self._clock.now()
        hint = Hint(
            backend_id=health.backend_id,
            instance=self._instance,
            noted_at=now,
            down_until=now + timedelta(seconds=down_seconds),
            reason=health.reason,
        )
        with suppress(StorageUnavailable):  # others will find out by themselves
            await self._hints.put(hint)
