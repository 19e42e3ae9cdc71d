"""Reads the bodies of requests within bounds on size, time and memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final, TypeAlias

from shared.domain.errors import BodiesTooLarge, BodyTooSlow, InvalidRequest, RequestTooLarge
from shared.domain.values import record

Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
"""Receives the next message of a request, as ASGI defines it."""

_SMALL_DIGITS: Final = 5
"""Digits of the size of a small body, so that it has less than 100,000 bytes. Small bodies need no budget, because a
server keeps about as much for each connection before anybody reads it."""
_UNSTATED: Final = b"unstated"
_GRACE_SECONDS: Final = 10.0
"""The time for which a body may arrive at any rate."""
_MAX_INTERVAL_SECONDS: Final = 1.0


def is_large(headers: Mapping[bytes, bytes]) -> bool:
    """Tell whether the body of which these are the headers is large, or may be."""
    return len(headers.get(b"content-length", _UNSTATED)) > _SMALL_DIGITS


@record
class BodyBounds:
    """The bounds of bodies."""

    max_bytes: int
    budget_bytes: int
    """Memory for the large bodies of all requests together."""
    seconds: float
    """The longest time for one body."""
    bytes_per_second: float
    """The lowest rate of one body, after some seconds."""


class BodyBudget:
    """Memory for large bodies. One tenant may hold at most as much as is left for all others."""

    def __init__(self, budget_bytes: int) -> None:
        self._free = budget_bytes
        self._held: dict[str, int] = {}

    def take(self, tenant_id: str, size: int) -> None:
        """Take memory for a tenant's body. Raises `BodiesTooLarge`."""
        held = self._held.get(tenant_id, 0) + size
        if held > self._free - size:
            raise BodiesTooLarge
        self._free -= size
        self._held[tenant_id] = held

    def give_back(self, tenant_id: str, size: int) -> None:
        """Give back what was taken."""
        self._free += size
        left = self._held.pop(tenant_id) - size
        if left:
            self._held[tenant_id] = left


class HeldMemory:
    """The part of the budget that one request holds until it is served."""

    __slots__ = ("_budget", "_size", "_tenant_id")

    def __init__(self, budget: BodyBudget, tenant_id: str) -> None:
        self._budget = budget
        self._tenant_id = tenant_id
        self._size = 0

    def grow(self, size: int) -> None:
        """Hold at least `size` bytes. Raises `BodiesTooLarge`."""
        if size > self._size:
            self._budget.take(self._tenant_id, size - self._size)
            self._size = size

    def release(self) -> None:
        """Give back everything. Called once, at the end of the request."""
        if self._size:
            self._budget.give_back(self._tenant_id, self._size)


class _Progress:
    """The progress of one body that did not come at once."""

    __slots__ = ("is_given_up", "since", "size")

    def __init__(self) -> None:
        self.since = time.monotonic()
        self.size = 0
        self.is_given_up = False


class BodyReader:
    """Reads bodies. Made once for a process."""

    def __init__(self, bounds: BodyBounds) -> None:
        self._bounds = bounds
        self._budget = BodyBudget(bounds.budget_bytes)
        # ADR 12: one timer for all bodies. Most come at once and never get a `_Progress`.
        self._reading: dict[asyncio.Task[Any], _Progress | None] = {}
        self._interval_seconds = min(_MAX_INTERVAL_SECONDS, bounds.seconds / 8)
        self._is_checking = False
        self._due_at = 0.0

    def hold(self, tenant_id: str, headers: Mapping[bytes, bytes]) -> HeldMemory:
        """Hold memory for the large body of which these are the headers. Raises `RequestTooLarge`, `BodiesTooLarge`."""
        stated = headers.get(b"content-length", b"0")
        size = int(stated) if stated.isdigit() else 0
        if size > self._bounds.max_bytes:
            raise self._too_large()
        held = HeldMemory(self._budget, tenant_id)
        held.grow(size)
        return held

    async def read(self, receive: Receive, headers: Mapping[bytes, bytes], held: HeldMemory | None) -> bytes:
        """Return the body. `held` is for a large one.

        Raises `RequestTooLarge`, `BodyTooSlow`, `BodiesTooLarge`, and `InvalidRequest` for a compressed body or a
        caller that disconnects.
        """
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise InvalidRequest("Compressed request bodies are not supported.", "Content-Encoding")
        task, reading = asyncio.current_task(), self._reading
        assert task is not None
        reading[task] = None
        if not self._is_checking:
            self._check_later()
        try:
            message = await receive()
            first = self._part(message, 0, held)
            return await self._with_rest(first, receive, held, task) if message.get("more_body", False) else first
        except asyncio.CancelledError:
            progress = reading[task]
            if progress is not None and progress.is_given_up and not task.uncancel():
                raise BodyTooSlow from None
            raise
        finally:
            del reading[task]

    async def _with_rest(
        self, first: bytes, receive: Receive, held: HeldMemory | None, task: asyncio.Task[Any]
    ) -> bytes:
        """Return a body that did not come at once."""
        parts, size, has_more = [first], len(first), True
        while has_more:
            self._progress(task).size = size
            message = await receive()
            part = self._part(message, size, held)
            parts.append(part)
            size += len(part)
            has_more = message.get("more_body", False)
        return b"".join(parts)

    def _part(self, message: Mapping[str, Any], size_before: int, held: HeldMemory | None) -> bytes:
        """Return the next part of a body, of which `size_before` bytes have arrived."""
        if message["type"] == "http.disconnect":
            raise InvalidRequest("The caller went away before the body was complete.")
        part: bytes = message.get("body", b"")
        size = size_before + len(part)
        if size > self._bounds.max_bytes:
            raise self._too_large()
        if held is not None:
            held.grow(size)
        return part

    def _progress(self, task: asyncio.Task[Any]) -> _Progress:
        progress = self._reading[task]
        if progress is None:
            progress = self._reading[task] = _Progress()
        return progress

    def _check_later(self) -> None:
        self._is_checking = True
        self._due_at = time.monotonic() + self._interval_seconds
        asyncio.get_running_loop().call_later(self._interval_seconds, self._check)

    def _check(self) -> None:
        """Give up the bodies that are too slow. Time in which the event loop was blocked does not count."""
        now, bounds = time.monotonic(), self._bounds
        blocked_seconds = max(0.0, now - self._due_at)
        for task in [*self._reading]:
            progress = self._progress(task)
            progress.since += blocked_seconds
            allowed = min(bounds.seconds, _GRACE_SECONDS + progress.size / bounds.bytes_per_second)
            if now - progress.since >= allowed and not progress.is_given_up:
                progress.is_given_up = True
                task.cancel()
        self._is_checking = False
        if self._reading:
            self._check_later()

    def _too_large(self) -> RequestTooLarge:
        return RequestTooLarge(f"The request body exceeds the limit of {self._bounds.max_bytes} bytes.")
