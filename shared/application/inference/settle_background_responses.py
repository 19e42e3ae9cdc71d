"""Settle the responses that upstream makes in the background, once each has ended."""

from __future__ import annotations

from shared.application.cached import Cached
from shared.application.inference.metered_attempt import MeteredAttempt
from shared.application.inference.remember_response import KeepResponse
from shared.application.ports.clock import Clock
from shared.application.ports.formats import InferenceFormat
from shared.application.ports.inference import ResponseDirectory, Tokenizer, Upstream
from shared.application.ports.ledger import Ledger
from shared.domain.errors import BackendBroken, BackendTimeout, BackendUnavailable
from shared.domain.inference.parsed_body import Completion, InferenceRequest
from shared.domain.ledger.entries import Reservation
from shared.domain.pricing.price_book import PriceBook
from shared.domain.routing.catalog import Backend, Catalog
from shared.domain.routing.paths import response_path

_GONE = 404
_UNREAD = InferenceRequest(b"", "application/json", None)


class SettleResponses:
    """What the timer does. Whoever settles twice settles once: a reservation resolves only once."""

    def __init__(
        self,
        directory: ResponseDirectory,
        upstream: Upstream,
        ledger: Ledger,
        tokenizer: Tokenizer,
        catalog: Cached[Catalog],
        prices: Cached[PriceBook],
        clock: Clock,
        wire: InferenceFormat,
    ) -> None:
        self._directory = directory
        self._upstream = upstream
        self._ledger = ledger
        self._tokenizer = tokenizer
        self._catalog = catalog
        self._prices = prices
        self._clock = clock
        self._wire = wire

    async def __call__(self) -> int:
        """Look at every response that runs; returns how many were settled."""
        backends = (await self._catalog.get()).backends
        settled = 0
        for response_id, reservation in [each async for each in self._directory.deferred()]:
            backend = backends.get(reservation.attempt.backend)
            if backend is not None and await self._settle(backend, response_id, reservation):
                await self._directory.resolve(response_id)
                settled += 1
        return settled

    async def _settle(self, backend: Backend, response_id: str, reservation: Reservation) -> bool:
        """Whether the response has ended and is booked. A backend that cannot be asked is asked again later."""
        try:
            response = await self._upstream.send(backend, "GET", response_path(backend, response_id), b"", {})
            body = await response.read()
            completion = self._wire.read_completion(_UNREAD, body) if response.status == 200 else None
        except (BackendUnavailable, BackendBroken, BackendTimeout):
            return False
        attempt = await self._attempt(backend, reservation)
        if completion is None:
            if response.status != _GONE:
                return False
            await attempt.charge_input(_GONE, "response_gone")
            return True
        return await _book(attempt, completion)

    async def _attempt(self, backend: Backend, reservation: Reservation) -> MeteredAttempt:
        rates = (await self._prices.get()).of_version(reservation.attempt.price_version)
        keeper = KeepResponse(
            self._directory, reservation.lane.tenant_id, reservation.attempt.deployment, backend.backend_id
        )
        now = self._clock.monotonic()
        return MeteredAttempt(self._ledger, self._clock, self._tokenizer, reservation, rates, now, keeper=keeper)


async def _book(attempt: MeteredAttempt, completion: Completion) -> bool:
    if completion.is_running:
        return False
    await attempt.charge(
        completion.usage,
        texts=completion.texts,
        findings=completion.findings,
        service_tier=completion.service_tier,
        response_id=completion.response_id,
    )
    return True
