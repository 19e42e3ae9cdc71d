"""Ports to backends, to the tokenizer, and to stored responses."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from shared.domain.inference.stored_response import StoredResponse
from shared.domain.ledger.entries import Reservation
from shared.domain.routing.catalog import Backend


class ResponseDirectory(Protocol):
    """The owners of the responses that upstream stores. All methods raise `StorageUnavailable` and are atomic."""

    async def get(self, tenant_id: str, response_id: str) -> StoredResponse | None:
        """Return a tenant's response; `None` if it is unknown or another tenant's."""
        ...

    async def put(self, stored: StoredResponse) -> None:
        """Insert or replace a response. Idempotent."""
        ...

    async def remove(self, tenant_id: str, response_id: str) -> None:
        """Remove a response. Does nothing if it is unknown."""
        ...

    async def defer(self, response_id: str, reservation: Reservation) -> bool:
        """Store the reservation of a response that upstream still works on, to be settled later. Idempotent.

        Returns `False` if another reservation was stored for the same id; then nothing has changed.
        """
        ...

    async def reservation_of(self, response_id: str) -> Reservation | None:
        """Return the reservation of a deferred response; `None` if it is not deferred."""
        ...

    def deferred(self) -> AsyncIterator[tuple[str, Reservation]]:
        """Yield the id and reservation of each deferred response.

        Raises `RowsDamaged` at the end, so that one row hides no other.
        """
        ...

    async def resolve(self, response_id: str) -> None:
        """Remove a deferred response, because it is settled. Does nothing if there is none."""
        ...


class Tokenizer(Protocol):
    """Counts tokens without any request."""

    def count(self, text: str, model: str) -> int:
        """Return the number of tokens of `text` under the vocabulary of `model`."""
        ...


class UpstreamResponse(Protocol):
    """An answer whose head has arrived, and whose body is not read yet. Names of headers are in lower case."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]

    async def read(self) -> bytes:
        """Read and return the whole body. Raises `BackendBroken` or `BackendTimeout`."""
        ...

    async def forward(self, take: Callable[[bytes], Awaitable[None] | None]) -> None:
        """Pass each chunk of the body to `take` as it arrives. Returns at the end of the body.

        - Awaits what `take` returns, if anything, before the next chunk is read. A slow client so slows the backend.
        - After a cancellation it may be called again, and continues with the next chunk.
        - Raises `BackendBroken` or `BackendTimeout`.
        """
        ...

    def close(self) -> None:
        """End the use of the answer. Drops the connection unless the body was read to its end."""
        ...


class Upstream(Protocol):
    """Sends requests to backends."""

    async def send(
        self,
        backend: Backend,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        head_seconds: float | None = None,
    ) -> UpstreamResponse:
        """Send one request, and return when the head of its answer has arrived.

        - `path` follows the backend's endpoint and includes the query.
        - `head_seconds` is the longest time to wait for the head; `None` for the configured time.
        - Raises `BackendUnavailable` if the backend provably did not process the request.
        - Raises `BackendTimeout` or `BackendBroken` if it may have processed it.
        """
        ...
