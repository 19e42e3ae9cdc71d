"""Settle the responses that upstream creates in the background, once each has ended."""

from __future__ import annotations

from shared.application.cached_value import Cached
from shared.application.inference.metered_attempt import MeteredAttempt
from shared.application.inference.response_owner import ResponseOwner
from shared.application.ports.clock import Clock
from shared.application.ports.formats import InferenceFormat
from shared.application.ports.inference import ResponseDirectory, Tokenizer, Upstream
from shared.application.ports.ledger import Ledger
from shared.domain.errors import BackendBroken, BackendTimeout, BackendUnavailable
from shared.domain.inference.parsed_body import Completion, ParsedBody
from shared.domain.ledger.entries import Reservation
from shared.domain.pricing.price_book import PriceBook
from shared.domain.routing.catalog import Backend, Catalog
from shared.domain.routing.paths import response_path

_GONE = 404
_UNREAD = ParsedBody(raw=b"", content_type="application/json", model=None)


class SettleResponses:
    """The use case of the timer `settle_background_responses`. Settling twice is harmless: it books once."""

    def __init__(
        self,
        directory: ResponseDirectory,
        upstream: Upstream,
        ledger: Ledger,
        tokenizer: Tokenizer,
        catalog: Cached[Catalog],
        prices: Cached[PriceBook],
        clock: Clock,
        format_: InferenceFormat,
    ) -> None:
        self._directory = directory
        self._upstream = upstream
        self._ledger = ledger
        self._tokenizer = tokenizer
        self._catalog = catalog
        self._prices = prices
        self._clock = clock
        self._format = format_

    async def __call__(self) -> int:
        """Ask for every response that was still running; returns the number of settled ones.

        Raises `StorageUnavailable`, and `UnpricedModel` if a reservation's prices are no longer in the book.
        """
        backends = (await self._catalog.get()).backends
        settled = 0
        for response_id, reservation in [each async for each in self._directory.deferred()]:
            backend = backends.get(reservation.attempt.backend)
            if backend is not None and await self._settle(backend, response_id, reservation):
                await self._directory.resolve(response_id)
                settled += 1
        return settled

    async def _settle(self, backend: Backend, response_id: str, reservation: Reservation) -> bool:
        """Book one response if it has ended. Returns `False` if it must be asked for again later."""
        try:
            response = await self._upstream.send(backend, "GET", response_path(backend, response_id), b"", {})
            body = await response.read()
            completion = self._format.read_completion(_UNREAD, body) if response.status == 200 else None
        except (BackendUnavailable, BackendBroken, BackendTimeout):
            return False
        attempt = await self._attempt(backend, reservation)
        if completion is not None:
            return await _book(attempt, completion)
        if response.status != _GONE:
            return False
        await attempt.charge_input(_GONE, "response_gone")
        return True

    async def _attempt(self, backend: Backend, reservation: Reservation) -> MeteredAttempt:
        return MeteredAttempt(
            ledger=self._ledger,
            clock=self._clock,
            tokenizer=self._tokenizer,
            reservation=reservation,
            rate_card=(await self._prices.get()).of_version(reservation.attempt.price_version),
            started_at=self._clock.monotonic(),
            response_owner=ResponseOwner(
                directory=self._directory,
                tenant_id=reservation.lane.tenant_id,
                deployment=reservation.attempt.deployment,
                backend_id=backend.backend_id,
            ),
        )


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
