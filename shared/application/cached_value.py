"""Cache values of storage that every request needs. Their age is bounded, and requests rarely wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import Any, Generic, TypeVar

from shared.application.ports.clock import Clock
from shared.domain.errors import StorageUnavailable

T = TypeVar("T")

FRESH_SECONDS = 10.0
MAX_AGE_SECONDS = 25.0


class Cached(Generic[T]):
    """One value, reloaded in the background from `FRESH_SECONDS` on, and never returned after `MAX_AGE_SECONDS`.

    Its age counts from the start of the load. So all processes notice a change within the maximum age, also if a load
    takes longer than that: what it has read may have been changed since.
    """

    def __init__(self, load: Callable[[], Awaitable[T]], clock: Clock) -> None:
        self._load = load
        self._clock = clock
        self._loaded: tuple[float, T] | None = None
        self._loading: asyncio.Task[tuple[float, T]] | None = None

    async def get(self) -> T:
        """Return the value; loads it if none is young enough.

        Raises the errors of `load`, and `StorageUnavailable` if the load took so long that the value is too old.
        """
        if self._loaded is not None:
            loaded_at, value = self._loaded
            age = self._clock.monotonic() - loaded_at
            if age < FRESH_SECONDS:
                return value
            if age < MAX_AGE_SECONDS:
                self._refresh()
                return value
        loaded_at, value = await asyncio.shield(self._refresh())
        if self._clock.monotonic() - loaded_at >= MAX_AGE_SECONDS:
            raise StorageUnavailable("The configuration store answered too late.")
        return value

    def invalidate(self) -> None:
        """Discard the value, and the result of a load that is under way."""
        self._loaded = None
        self._loading = None

    def _refresh(self) -> asyncio.Task[tuple[float, T]]:
        if self._loading is None:
            # A context of its own: the load belongs to no single request, and its log lines name none.
            self._loading = asyncio.create_task(self._reload(), context=Context())
            self._loading.add_done_callback(_retrieve)
        return self._loading

    async def _reload(self) -> tuple[float, T]:
        """Load the value. Returns it with the moment at which the load began."""
        started_at = self._clock.monotonic()
        this = asyncio.current_task()
        try:
            value = await self._load()
            if self._loading is this:  # else `invalidate` has discarded this load
                self._loaded = (started_at, value)
            return started_at, value
        finally:
            if self._loading is this:
                self._loading = None


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Retrieve the error of a failed load. The next reader of the value loads again and gets the error.

    Only errors that are no `StorageUnavailable` are logged, because they are defects.
    """
    if not task.cancelled() and not isinstance(task.exception(), (StorageUnavailable, type(None))):
        task.get_loop().call_exception_handler({"message": "a refresh failed", "exception": task.exception()})
