"""Ports to backends, to the tokenizer, and to stored responses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from shared.domain.inference.stored_response import StoredResponse
from shared.domain.ledger.entries import Reservation
from shared.domain.routing.catalog import Backend


class ResponseDirectory(Protocol):
    """Responses that upstream keeps, by owner. Raises `StorageUnavailable`."""

    async def get(self, tenant_id: str, response_id: str) -> StoredResponse | None:
        """A tenant's response; `None` if it is another's."""
        ...

    async def put(self, stored: StoredResponse) -> None:
        """Insert or replace."""
        ...

    async def remove(self, tenant_id: str, response_id: str) -> None:
        """Forget a response; harmless if it is unknown."""
        ...

    async def defer(self, response_id: str, reservation: Reservation) -> None:
        """Note that upstream still works on it, and what is to be settled then; idempotent."""
        ...

    def deferred(self) -> AsyncIterator[tuple[str, Reservation]]:
        """Every response that is noted so."""
        ...

    async def resolve(self, response_id: str) -> None:
        """Take the note away; harmless if there is none."""
        ...


class Tokenizer(Protocol):
    """Counts tokens."""

    def count(self, text: str, model: str) -> int:
        """Tokens of `text` under the vocabulary of `model`."""
        ...


class UpstreamResponse(Protocol):
    """An answer whose head has arrived and whose body has not been read. Names of headers are in lower case."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]

    async def read(self) -> bytes:
        """The whole body. Raises `BackendBroken` or `BackendTimeout`."""
        ...

    async def forward(self, take: Callable[[bytes], Awaitable[None] | None]) -> None:
        """Give each part of the body to `take` as it arrives, and await what that returns before the next is read.

        Returns at the end of the body. After a cancellation it may be called again and goes on where it stopped.
        Raises `BackendBroken` or `BackendTimeout`.
        """
        ...

    def close(self) -> None:
        """Drop the connection if the body was not read to its end."""
        ...


class Upstream(Protocol):
    """Forwards a request to a backend."""

    async def send(
        self,
        backend: Backend,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        head_seconds: float | None = None,
    ) -> UpstreamResponse:
        """Send and return when the response's head is there, for which at most `head_seconds` are waited.

        `path` follows the backend's endpoint, query included. Raises `BackendUnavailable` if the request provably was
        not processed, `BackendTimeout` or `BackendBroken` if it may have been.
        """
        ...
