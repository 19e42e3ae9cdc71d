"""Remember which tenant owns a response that upstream stores."""

from __future__ import annotations

from shared.application.ports.inference import ResponseDirectory
from shared.domain.inference.stored_response import StoredResponse
from shared.domain.ledger.entries import Reservation
from shared.domain.values import record


@record
class ResponseOwner:
    """The tenant, deployment and backend of the response that one attempt creates."""

    directory: ResponseDirectory
    tenant_id: str
    deployment: str
    backend_id: str
    is_background: bool = False
    """Upstream goes on working after the client has disconnected."""

    async def remember(self, response_id: str, context_tokens: int) -> None:
        """Store the owner of a response. `context_tokens` is the context of a response that follows it.

        Raises `StorageUnavailable`. Idempotent.
        """
        stored = StoredResponse(
            response_id=response_id,
            tenant_id=self.tenant_id,
            deployment=self.deployment,
            backend_id=self.backend_id,
            context_tokens=context_tokens,
        )
        await self.directory.put(stored)

    async def defer(self, response_id: str, reservation: Reservation) -> None:
        """Store the owner, and leave the settlement to the timer, because upstream still works on the response.

        Raises `StorageUnavailable`. Idempotent.
        """
        await self.directory.defer(response_id, reservation)
        await self.remember(response_id, reservation.amount.tokens)
