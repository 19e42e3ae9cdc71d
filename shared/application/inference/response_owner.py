"""Remember which tenant owns a response that upstream stores."""

from __future__ import annotations

from typing import Final

from shared.application.ports.inference import ResponseDirectory
from shared.domain.inference.stored_response import StoredResponse
from shared.domain.ledger.entries import Reservation
from shared.domain.values import record

_MOST_CONTEXT_TOKENS: Final = 2**31 - 1
"""The largest number that the column can hold."""


@record
class ResponseOwner:
    """The tenant, deployment and backend of the response that one attempt creates."""

    directory: ResponseDirectory
    tenant_id: str
    deployment: str
    backend_id: str
    is_background: bool = False
    """The caller asked for a response on which upstream works without its caller."""
    is_stored: bool = True
    """The caller let upstream store the response."""

    async def remember(self, response_id: str, context_tokens: int) -> None:
        """Store the owner of a response. `context_tokens` is the context of a response that follows it.

        Raises `StorageUnavailable`. Idempotent.
        """
        stored = StoredResponse(
            response_id=response_id,
            tenant_id=self.tenant_id,
            deployment=self.deployment,
            backend_id=self.backend_id,
            context_tokens=min(context_tokens, _MOST_CONTEXT_TOKENS),
        )
        await self.directory.put(stored)

    async def defer(self, response_id: str, reservation: Reservation) -> bool:
        """Store the owner, and leave the settlement to the timer, because upstream still works on the response.

        Returns `False` if another attempt has deferred the same id. Raises `StorageUnavailable`. Idempotent.
        """
        is_deferred = await self.directory.defer(response_id, reservation)
        if is_deferred:
            await self.remember(response_id, reservation.amount.tokens)
        return is_deferred

    async def resolve(self, response_id: str) -> None:
        """Take the settlement from the timer, because it is booked. Raises `StorageUnavailable`. Idempotent."""
        await self.directory.resolve(response_id)
