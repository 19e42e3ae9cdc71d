"""A value of the key vault that is renewed in the background, and outlives an outage of the vault."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context
from typing import Final, Generic, TypeVar

from shared.application.ports.clock import Clock
from shared.domain.errors import SecretUnavailable

T = TypeVar("T")
logger = logging.getLogger("tallygate")
LIFETIME_SECONDS: Final = 600.0
"""The longest time for which a value is held without being read again, unless the vault cannot be read."""
RETRY_SECONDS: Final = 10.0
"""The time after a failed reading within which the vault is not asked again."""
ANEW_SECONDS: Final = 30.0
"""The time between two readings that a refused value causes."""
_JITTER: Final = 0.1
_RENEWED_AFTER: Final = 0.8


class Renewed(Generic[T]):
    """One value, which all callers share. All callers that wait share one reading of it.

    - From 80% of its lifetime on it is read again in the background.
    - A value that cannot be read again stays in use, unless the vault says that it is gone.
    - Lifetimes differ by up to 10%, so that processes that started together do not read together.
    """

    def __init__(
        self, name: str, read: Callable[[T | None], Awaitable[T]], clock: Clock, jitter: Callable[[], float]
    ) -> None:
        """`read` gets the value that is held, and raises `SecretUnavailable`. `jitter` returns 0 to 1."""
        self._name = name
        self._read = read
        self._clock = clock
        self._jitter = jitter
        self._held: T | None = None
        self._renew_at = self._ends_at = self._retry_at = self._anew_at = 0.0
        self._failure: SecretUnavailable | None = None
        self._reading: asyncio.Task[T] | None = None

    def held(self) -> T | None:
        """Return the value if it is held and not due to be read again."""
        return self._held if self._clock.monotonic() < self._renew_at else None

    async def get(self) -> T:
        """Return the value. Raises `SecretUnavailable` if none is held and none can be read."""
        held, now = self._held, self._clock.monotonic()
        if held is not None and now < self._renew_at:
            return held
        if self._failure is not None and now < self._retry_at:
            if held is None:
                raise SecretUnavailable(str(self._failure))
            return held
        reading = self._join_or_start()
        if held is not None and (self._failure is not None or now < self._ends_at):
            return held  # an outage of the vault delays no request
        try:
            return await asyncio.shield(reading)  # a caller that is cancelled must not cancel it for the others
        except SecretUnavailable:
            if self._held is None:
                raise
            return self._held

    async def read_anew(self) -> T:
        """Return the value after a reading that begins now. Reads at most every 30 s, and raises as `get` does."""
        now = self._clock.monotonic()
        if now >= self._anew_at:
            self._anew_at = now + ANEW_SECONDS
            self._join_or_start()
        if self._reading is not None:
            with suppress(SecretUnavailable):
                return await asyncio.shield(self._reading)
        return await self.get()

    def cancel(self) -> None:
        """End a reading that is under way."""
        if self._reading is not None:
            self._reading.cancel()

    def _join_or_start(self) -> asyncio.Task[T]:
        if self._reading is None:
            # A context of its own: the reading belongs to no single request, and its log lines name none.
            self._reading = asyncio.create_task(self._fetch(), context=Context())
            self._reading.add_done_callback(_retrieve)
        return self._reading

    async def _fetch(self) -> T:
        started_at = self._clock.monotonic()
        try:
            held = self._held = await self._read(self._held)
        except SecretUnavailable as error:
            self._failure, self._retry_at = error, self._clock.monotonic() + RETRY_SECONDS
            if error.is_gone:
                self._held = None
            logger.warning("%s %s", error, "The value that is held stays in use." if self._held is not None else "")
            raise
        finally:
            self._reading = None
        lifetime = LIFETIME_SECONDS * (1 - _JITTER * self._jitter())
        self._failure, self._renew_at, self._ends_at = (
            None,
            started_at + _RENEWED_AFTER * lifetime,
            started_at + lifetime,
        )
        return held


def _retrieve(task: asyncio.Task[T]) -> None:
    """Retrieve the error of a reading that nobody may await. One that is no `SecretUnavailable` is a defect."""
    if not task.cancelled() and not isinstance(task.exception(), (SecretUnavailable, type(None))):
        task.get_loop().call_exception_handler({"message": "a reading failed", "exception": task.exception()})
