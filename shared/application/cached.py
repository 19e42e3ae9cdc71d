"""Values that storage holds and every request needs: fresh within a bound, and never waited for while in use."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from shared.application.ports.clock import Clock
from shared.domain.errors import StorageUnavailable

T = TypeVar("T")

FRESH_SECONDS = 10.0
MAX_AGE_SECONDS = 25.0


class Cached(Generic[T]):
    """One value, reloaded in the background once it is `FRESH_SECONDS` old and never served past `MAX_AGE_SECONDS`.

    Age counts from the start of the load, so a change is effective everywhere within the maximum age.
    """

    def __init__(self, load: Callable[[], Awaitable[T]], clock: Clock) -> None:
        self._load = load
        self._clock = clock
        self._loaded: tuple[float, T] | None = None
        self._loading: asyncio.Task[T] | None = None

    async def get(self) -> T:
        """The value; raises what `load` raises if there is none young enough."""
        if self._loaded is not None:
            loaded_at, value = self._loaded
            age = self._clock.monotonic() - loaded_at
            if age < FRESH_SECONDS:
                return value
            if age < MAX_AGE_SECONDS:
                self._refresh()
                return value
        return await asyncio.shield(self._refresh())

    def invalidate(self) -> None:
        """Load anew before the value is served again."""
        self._loaded = None
        self._loading = None

    def _refresh(self) -> asyncio.Task[T]:
        if self._loading is None:
            self._loading = asyncio.create_task(self._reload())
            self._loading.add_done_callback(_retrieve)
        return self._loading

    async def _reload(self) -> T:
        started_at = self._clock.monotonic()
        this = asyncio.current_task()
        try:
            value = await self._load()
            if self._loading is this:
                self._loaded = (started_at, value)
            return value
        finally:
            if self._loading is this:
                self._loading = None


def _retrieve(task: asyncio.Task[T]) -> None:
    """A failed refresh in the background is told to whoever must wait for the next one."""
    if not task.cancelled() and not isinstance(task.exception(), (StorageUnavailable, type(None))):
        task.get_loop().call_exception_handler({"message": "a refresh failed", "exception": task.exception()})
