"""Settle the responses that upstream creates in the background, once each has ended."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from shared.application.cached_value import Cached
from shared.application.inference.metered_attempt import MeteredAttempt
from shared.application.inference.reserved_rates import reserved_rates, spill_flag
from shared.application.inference.response_owner import ResponseOwner
from shared.application.ports.clock import Clock
from shared.application.ports.formats import InferenceFormat
from shared.application.ports.inference import ResponseDirectory, Tokenizer, Upstream
from shared.application.ports.ledger import Ledger
from shared.application.sweep import Sweep
from shared.application.telemetry.request_trace import RequestTraces
from shared.domain.errors import BackendBroken, BackendFailed, BackendUnavailable
from shared.domain.identifiers import timestamp
from shared.domain.inference.parsed_body import Completion, ParsedBody
from shared.domain.ledger.entries import Reservation
from shared.domain.pricing.price_book import PriceBook
from shared.domain.routing.answer import Meaning, classify
from shared.domain.routing.catalog import Catalog
from shared.domain.routing.paths import response_path

_JOB: Final = "settle_background_responses"
_GONE: Final = 404
_HEAD_SECONDS: Final = 10.0
"""A backend that hangs must not keep the others waiting."""
_KEPT_FOR: Final = timedelta(days=30)
"""Upstream keeps a response no longer."""
_UNREAD: Final = ParsedBody(raw=b"", content_type="application/json", model=None)


class SettleResponses:
    """The use case of the timer `settle_background_responses`, and of requests for responses that are not settled.

    Settling twice, also at the same time, is harmless: it books once.
    """

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
        sweep: Sweep,
        traces: RequestTraces,
    ) -> None:
        self._traces = traces
        self._directory = directory
        self._upstream = upstream
        self._ledger = ledger
        self._tokenizer = tokenizer
        self._catalog = catalog
        self._prices = prices
        self._clock = clock
        self._format = format_
        self._sweep = sweep

    async def __call__(self) -> int:
        """Ask for every response that was still running; returns the number of settled ones.

        Several are asked for at once. Raises `SweepFailed` at the end, with the error of each that cannot be settled.
        """
        swept = await self._sweep(_JOB, self._directory.deferred(), self._settle_or_wait, _id_of)
        return swept.done

    async def ask(self, response_id: str, reservation: Reservation) -> bool:
        """Ask upstream for a deferred response, and settle it. Returns `False` if upstream still works on it.

        Raises `BackendFailed` if upstream cannot be asked, `StorageUnavailable`, and `UnpricedModel` if the
        reservation's prices are no longer in the book.
        """
        backend = (await self._catalog.get()).backend(reservation.attempt.backend)
        if backend is None:
            raise BackendUnavailable("The backend that stores the response is no longer configured.")
        path = response_path(backend, response_id)
        response = await self._upstream.send(backend, "GET", path, b"", {}, _HEAD_SECONDS)
        body = await response.read()
        answer = classify(response, body)
        if answer.meaning is Meaning.COMPLETED:
            return await self.settle(response_id, reservation, body)
        if response.status != _GONE or answer.meaning is not Meaning.CALLER_ERROR:
            raise answer.error or BackendBroken(f"The backend answered with status {response.status}.")
        await (await self._attempt(reservation)).charge_hold(_GONE, "response_gone")
        await self._directory.resolve(response_id)
        return True

    async def settle(self, response_id: str, reservation: Reservation, body: bytes) -> bool:
        """Settle a deferred response with upstream's answer about it. Returns `False` if upstream still works on it.

        Raises `BackendBroken` if the answer cannot be read, `StorageUnavailable`, and `UnpricedModel`. Idempotent.
        """
        completion = self._format.read_completion(_UNREAD, body)
        if completion.is_running:
            return False
        await _book(await self._attempt(reservation), completion)
        await self._directory.resolve(response_id)
        return True

    async def _settle_or_wait(self, deferred: tuple[str, Reservation]) -> int:
        """Settle one response if it has ended. A backend that cannot be asked is asked again until it forgets."""
        response_id, reservation = deferred
        try:
            return int(await self.ask(response_id, reservation))
        except BackendFailed:
            if reservation.created > timestamp(self._clock.now() - _KEPT_FOR):
                return 0
        await (await self._attempt(reservation)).charge_hold(504, "response_unreachable")
        await self._directory.resolve(response_id)
        return 1

    async def _attempt(self, reservation: Reservation) -> MeteredAttempt:
        book, backend = await self._prices.get(), (await self._catalog.get()).backend(reservation.attempt.backend)
        return MeteredAttempt(
            ledger=self._ledger,
            clock=self._clock,
            tokenizer=self._tokenizer,
            reservation=reservation,
            trace=self._traces.detached_attempt(),
            rates=reserved_rates(reservation, backend, book),
            rate_card=book.of_version(reservation.attempt.price_version),
            flag=spill_flag(reservation, backend),
            started_at=self._clock.monotonic(),
            response_owner=ResponseOwner(
                directory=self._directory,
                tenant_id=reservation.lane.tenant_id,
                deployment=reservation.attempt.deployment,
                backend_id=reservation.attempt.backend,
            ),
        )


def _id_of(deferred: tuple[str, Reservation]) -> str:
    return deferred[0]


async def _book(attempt: MeteredAttempt, completion: Completion) -> None:
    """Charge a response that has ended. If it shows neither a usage nor a text, nobody can tell what it has used."""
    if completion.usage is None and not completion.texts and not completion.has_failed:
        await attempt.charge_hold(200, "")
        return
    await attempt.charge(
        completion.usage,
        at_least=completion.at_least,
        texts=completion.texts,
        findings=completion.findings,
        service_tier=completion.service_tier,
        response_id=completion.response_id,
    )
