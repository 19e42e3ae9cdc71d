"""Remember whose a response is that upstream keeps, and those that are still being made."""

from __future__ import annotations

from shared.application.ports.inference import ResponseDirectory
from shared.domain.inference.stored_response import StoredResponse
from shared.domain.ledger.entries import Reservation
from shared.domain.values import value


@value
class KeepResponse:
    """Keeps the response of one attempt."""

    directory: ResponseDirectory
    tenant_id: str
    deployment: str
    backend_id: str
    is_background: bool = False

    async def finished(self, response_id: str, context_tokens: int) -> None:
        """It is made, and this is what a response that follows it has in its context."""
        stored = StoredResponse(response_id, self.tenant_id, self.deployment, self.backend_id, context_tokens)
        await self.directory.put(stored)

    async def running(self, response_id: str, reservation: Reservation) -> None:
        """Upstream works on it in the background; the timer settles the reservation once it has ended."""
        await self.directory.defer(response_id, reservation)
        await self.finished(response_id, reservation.amount.tokens)
