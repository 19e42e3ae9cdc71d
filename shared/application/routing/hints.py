"""Exchange hints with other processes, so that a process that has just started knows which backends are down."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import timedelta
from typing import Final

from shared.application.background import Background
from shared.application.ports.clock import Clock
from shared.application.ports.routing import Hint, HintStore
from shared.domain.errors import StorageUnavailable
from shared.domain.routing.backend_health import BackendHealth
from shared.domain.routing.catalog import Backend

_MIN_SECONDS: Final = 2.0
"""A backend that is down for a shorter time is up again before another process reads the hint."""


class HintExchange:
    """Publishes the changes of breakers that this process finds out, and applies the hints of other processes."""

    def __init__(self, store: HintStore, clock: Clock, background: Background, instance: str) -> None:
        self.store = store
        self._clock = clock
        self._background = background
        self._instance = instance
        self._published_until: dict[str, float] = {}

    def apply(
        self, hints: Iterable[Hint], backends: Mapping[str, Backend], health_of: Callable[[Backend], BackendHealth]
    ) -> None:
        """Apply the hints of other processes. Ignores hints about backends that are not configured."""
        wall, now = self._clock.now(), self._clock.monotonic()
        for hint in hints:
            backend = backends.get(hint.backend_id)
            if backend is not None and hint.instance != self._instance:
                down_seconds = (hint.down_until - wall).total_seconds()
                seconds_ago = (wall - hint.noted_at).total_seconds()
                health_of(backend).apply_hint(now, down_seconds, hint.reason, seconds_ago=seconds_ago)

    def publish(self, health: BackendHealth) -> None:
        """Publish in the background that a backend is down for some time, or up again.

        Publishes nothing that other processes know already, or that will soon be over.
        """
        open_until, published_until = health.open_until, self._published_until.get(health.backend_id, 0.0)
        down_seconds = 0.0 if open_until is None else open_until - self._clock.monotonic()
        if open_until is None:
            is_news = published_until > 0
        else:
            is_longer = open_until - published_until >= _MIN_SECONDS
            is_news = is_longer and down_seconds >= _MIN_SECONDS and not health.is_hinted
        if is_news:
            self._published_until[health.backend_id] = open_until or 0.0
            self._background.start(self._put(health, down_seconds))

    async def _put(self, health: BackendHealth, down_seconds: float) -> None:
        now = self._clock.now()
        hint = Hint(
            backend_id=health.backend_id,
            instance=self._instance,
            noted_at=now,
            down_until=now + timedelta(seconds=down_seconds),
            reason=health.reason,
        )
        with suppress(StorageUnavailable):  # other processes find out by their own requests
            await self.store.put(hint)
