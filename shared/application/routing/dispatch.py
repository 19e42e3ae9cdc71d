"""Give each request a slot at a backend: at once if one is ready, else after a short wait in a fair queue."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial
from typing import Final

from shared.application.background import Background
from shared.application.ports.clock import Clock
from shared.application.ports.routing import Hint, HintStore
from shared.application.routing.alert_breakers import BreakerAlerts
from shared.application.routing.backend_slot import BackendSlot
from shared.application.routing.fair_queue import FairQueue, QueueFull, WaitForDisconnect, WaitingPolicy
from shared.application.routing.hints import HintExchange
from shared.application.routing.log_breakers import BreakerLog
from shared.application.routing.tenant_shares import TenantShares
from shared.domain.errors import BackendUnavailable, ResidencyViolation
from shared.domain.routing.backend_health import BackendHealth, BreakerPolicy
from shared.domain.routing.catalog import Backend, Catalog, Deployment
from shared.domain.routing.selection import Candidate, Pool
from shared.domain.routing.transitions import Transitions
from shared.domain.tenancy.tenant import Tenant

_BUSY: Final = "Every backend of the deployment is busy. Retry later."
_MIN_RETRY_SECONDS: Final = 1.0


class Dispatcher:
    """The backends of one process: their health, their pools, and the requests that wait for them."""

    def __init__(
        self,
        clock: Clock,
        background: Background,
        hints: HintStore,
        instance: str,
        waiting: WaitingPolicy,
        breaker: BreakerPolicy,
        tenant_share: float = 1.0,
        alert: BreakerAlerts | None = None,
    ) -> None:
        """`tenant_share` is the largest part of a backend's places that one tenant may hold."""
        self._alert = alert
        self._log = BreakerLog()
        self._clock = clock
        self._shares = TenantShares(tenant_share)
        self._hints = HintExchange(hints, clock, background, instance)
        self._waiting = waiting
        self._breaker = breaker
        self._transitions = Transitions(report=self._report)
        self._seen_transitions = 0
        self._healths: dict[str, tuple[tuple[str, str], BackendHealth]] = {}
        self._catalog = Catalog()
        self._pools: dict[tuple[str, tuple[str, ...], bool, tuple[str, ...] | None, str], Pool] = {}
        self._queues: dict[Pool, FairQueue[BackendSlot]] = {}
        self._timers: dict[Pool, asyncio.TimerHandle] = {}

    def health(self, backend: Backend) -> BackendHealth:
        """Return the health of a backend. A backend that was moved to another resource or deployment starts anew."""
        address = (backend.endpoint, backend.upstream_deployment)
        known_address, health = self._healths.get(backend.backend_id, (None, None))
        if health is None or known_address != address:
            health = BackendHealth(backend_id=backend.backend_id, transitions=self._transitions, policy=self._breaker)
            self._healths[backend.backend_id] = (address, health)
        health.max_concurrent_requests = backend.max_concurrent_requests
        return health

    def pool(self, catalog: Catalog, tenant: Tenant, deployment: Deployment, same_resource_as: str = "") -> Pool:
        """Return the backends that may serve a tenant's requests to a deployment.

        - `same_resource_as` limits them to the resource with that endpoint, drained backends included.
        - Raises `ResidencyViolation` if none is in a place that the tenant allows.
        - Raises `BackendUnavailable` if none is configured, or all are drained.
        - Raises `RowsDamaged` instead of both if a damaged row may hide one.
        """
        if catalog is not self._catalog:  # it is loaded again every few seconds, mostly without a change
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
        self,
        pool: Pool,
        tenant: Tenant,
        tokens: int,
        tried: Collection[str] = (),
        affinity_point: float | None = None,
    ) -> BackendSlot | None:
        """Take a slot for a request of `tokens` tokens. Returns `None` if no backend can serve it now."""
        now, full = self._clock.monotonic(), self._shares.full.get(tenant.tenant_id)
        chosen = pool.choose(now, tokens, {*tried, *full} if full else tried, affinity_point)
        if chosen is None:
            return None
        backend, health, give_back = chosen.backend, chosen.health, None
        if health.max_concurrent_requests is not None:
            give_back = self._shares.hold(tenant.tenant_id, backend.backend_id, health.max_concurrent_requests)
        is_probe = health.started(now, tokens)
        return BackendSlot(
            backend, health, now, self._clock, self._queues, self._on_change, give_back, is_probe=is_probe
        )

    def take_slot_now(
        self,
        pool: Pool,
        tenant: Tenant,
        tokens: int,
        tried: Collection[str] = (),
        affinity_point: float | None = None,
    ) -> BackendSlot | None:
        """Take a slot as `take_slot` does, but overtake only those who wait for their own tenant's places."""
        queue = self._queues.get(pool)
        if queue is not None and not (self._shares.full and queue.may_be_passed(tenant.tenant_id, tenant.priority)):
            return None
        return self.take_slot(pool, tenant, tokens, tried, affinity_point)

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
        """Take a slot now, or after a wait of at most `seconds` in the queue of the pool.

        - Never waits longer than the waiting policy allows.
        - Raises `BackendUnavailable` if the wait is over, and at once if it would be in vain.
        - Raises `ClientDisconnected` once `wait_for_disconnect` returns.
        """
        slot = self.take_slot_now(pool, tenant, tokens, tried, affinity_point)
        if slot is not None:
            return slot
        allowed = self._waiting.seconds if seconds is None else min(seconds, self._waiting.seconds)
        expected = self._expected_seconds(pool, tenant, tried)
        if expected is not None and expected <= allowed and allowed > 0:
            try:
                take = partial(self.take_slot, pool, tenant, tokens, tried, affinity_point)
                return await self._wait(pool, tenant, take, allowed, wait_for_disconnect)
            except (TimeoutError, QueueFull):
                expected = self._expected_seconds(pool, tenant, tried)
        raise BackendUnavailable(_BUSY, max(self.retry_after_seconds(pool), expected or 0.0))

    def apply_hints(self, hints: Iterable[Hint], backends: Mapping[str, Backend]) -> None:
        """Apply the hints of other processes, and serve the waiting requests that can now be served."""
        self._hints.apply(hints, backends, self.health)
        self._advance_all()

    def retry_after_seconds(self, pool: Pool) -> float:
        """Return the time until the first backend may be ready, at least one second."""
        return max(_MIN_RETRY_SECONDS, pool.seconds_until_ready(self._clock.monotonic()) or 0.0)

    def _new_pool(self, catalog: Catalog, tenant: Tenant, deployment: Deployment, same_resource_as: str) -> Pool:
        own = tenant.pools.get(deployment.name)
        configured = [
            (fallback_index, backend)
            for fallback_index, backend in catalog.pool(deployment, own)
            if backend.weight or same_resource_as
        ]
        if not any(backend.objection(tenant.residency) is None for _, backend in configured):
            catalog.require_sound_pool(deployment, own)
        if not configured:
            raise BackendUnavailable(
                f"No backend serves the deployment '{deployment.name}': none is configured, or all are drained."
            )
        allowed = [
            Candidate(backend, self.health(backend), fallback_index)
            for fallback_index, backend in configured
            if backend.objection(tenant.residency) is None
        ]
        if not allowed:
            raise ResidencyViolation(
                f"No backend of the deployment '{deployment.name}' lies where this tenant's data may be processed."
            )
        return Pool([each for each in allowed if same_resource_as in ("", each.backend.endpoint)], self._transitions)

    def _expected_seconds(self, pool: Pool, tenant: Tenant, tried: Collection[str]) -> float | None:
        """Estimate the wait of a request, in seconds; `None` if all backends were tried."""
        ready = pool.seconds_until_ready(self._clock.monotonic(), tried)
        queue = self._queues.get(pool)
        rate = pool.requests_per_second
        if ready is None or rate is None:
            return ready
        ahead = queue.ahead_of(tenant.tenant_id, tenant.priority) if queue else 0
        return max(ready, (ahead + 1) / rate)

    async def _wait(
        self,
        pool: Pool,
        tenant: Tenant,
        take: Callable[[], BackendSlot | None],
        seconds: float,
        wait_for_disconnect: WaitForDisconnect | None,
    ) -> BackendSlot:
        queue = self._queues.setdefault(pool, FairQueue(self._waiting.max_waiting, BackendSlot.release))
        self._schedule_advance(pool)
        try:
            return await queue.wait(tenant.tenant_id, tenant.priority, take, seconds, wait_for_disconnect)
        finally:
            if not queue and self._queues.get(pool) is queue:
                self._remove_queue(pool)

    def _report(self, health: BackendHealth) -> None:
        """Log a breaker that has changed, and raise alerts about it."""
        self._log(health)
        if self._alert is not None:
            self._alert(health, self._catalog, self._known_health)

    def _known_health(self, backend_id: str) -> BackendHealth | None:
        known = self._healths.get(backend_id)
        return None if known is None else known[1]

    def _on_change(self, health: BackendHealth) -> None:
        """Serve the waiting requests that can now be served, and publish a change of the breaker."""
        self._advance_all()
        if self._transitions.count != self._seen_transitions:
            self._seen_transitions = self._transitions.count
            self._hints.publish(health)

    def _advance_all(self) -> None:
        for pool in [*self._queues]:
            self._advance(pool)

    def _advance(self, pool: Pool) -> None:
        queue, seconds = self._queues[pool], pool.seconds_until_ready(self._clock.monotonic())
        queue.advance()
        if seconds is not None and seconds > self._waiting.seconds:
            queue.refuse_all()  # no one can be served in time, so callers learn it now
        self._schedule_advance(pool)

    def _schedule_advance(self, pool: Pool) -> None:
        """Advance again when the next breaker becomes half-open, because no event reports that moment."""
        timer = self._timers.pop(pool, None)
        if timer is not None:
            timer.cancel()
        seconds = pool.seconds_until_next_try(self._clock.monotonic())
        if seconds is not None:
            self._timers[pool] = asyncio.get_running_loop().call_later(seconds, self._advance, pool)

    def _remove_queue(self, pool: Pool) -> None:
        del self._queues[pool]
        timer = self._timers.pop(pool, None)
        if timer is not None:
            timer.cancel()
