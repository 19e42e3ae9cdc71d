"""Concurrency limit of tenants: a request beyond the limit waits for its tenant's turn."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from shared.application.routing.fair_queue import FairQueue, QueueFull, WaitForDisconnect, WaitingPolicy
from shared.domain.errors import RateLimitExceeded
from shared.domain.tenancy.tenant import Tenant

_RETRY_SECONDS: Final = 1.0


class TenantTurns:
    """Bounds the requests that each tenant has under way in this process."""

    def __init__(self, waiting: WaitingPolicy) -> None:
        self._waiting = waiting
        self._under_way: dict[str, int] = {}
        self._queues: dict[str, FairQueue[str]] = {}

    async def wait(
        self, tenant: Tenant, wait_for_disconnect: WaitForDisconnect | None = None
    ) -> Callable[[], None] | None:
        """Wait for the tenant's turn, and take it.

        - Returns a function that ends the turn; the caller must call it once. `None` if the tenant has no limit.
        - Raises `RateLimitExceeded` if the turn does not come in time, or if too many requests wait.
        - Raises `ClientDisconnected` once `wait_for_disconnect` returns.
        """
        limit = tenant.max_concurrent_requests
        if limit is None:
            return None
        tenant_id = tenant.tenant_id
        take = partial(self._take, tenant_id, limit)
        if take() is None:
            queue = self._queues.setdefault(tenant_id, FairQueue(self._waiting.max_waiting, self._end))
            try:
                await queue.wait(tenant_id, 1, take, self._waiting.seconds, wait_for_disconnect)
            except (TimeoutError, QueueFull):
                raise RateLimitExceeded(
                    f"The tenant has {limit} requests under way, the most that it may have at once. Retry later.",
                    _RETRY_SECONDS,
                ) from None
        return partial(self._end, tenant_id)

    def _take(self, tenant_id: str, limit: int) -> str | None:
        under_way = self._under_way.get(tenant_id, 0)
        if under_way >= limit:
            return None
        self._under_way[tenant_id] = under_way + 1
        return tenant_id

    def _end(self, tenant_id: str) -> None:
        self._under_way[tenant_id] -= 1
        queue = self._queues.get(tenant_id)
        if queue:
            queue.advance()
        if not queue:
            self._queues.pop(tenant_id, None)
        if not self._under_way[tenant_id]:
            del self._under_way[tenant_id]
