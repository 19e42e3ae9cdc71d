"""Reserve the most that one attempt can cost, before it is made."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from operator import itemgetter
from typing import Final

from shared.application.cached_value import Cached
from shared.application.inference.body_threads import on_body_thread
from shared.application.inference.metered_attempt import MeteredAttempt
from shared.application.inference.resolved_request import ResolvedRequest
from shared.application.inference.response_owner import ResponseOwner
from shared.application.ports.clock import Clock
from shared.application.ports.inference import ResponseDirectory, Tokenizer
from shared.application.ports.ledger import Hold, Ledger
from shared.domain.errors import InvalidRequest, PeriodExhausted, RateLimitExceeded
from shared.domain.identifiers import new_rid, period_of, timestamp
from shared.domain.inference.parsed_body import ParsedBody
from shared.domain.inference.stored_response import StoredResponse
from shared.domain.ledger.amounts import Amount
from shared.domain.ledger.balance import Account, Lane
from shared.domain.ledger.entries import Attempt, Reservation
from shared.domain.pricing.price_book import PriceBook
from shared.domain.pricing.usage import Usage
from shared.domain.rate_limit import RateLimits
from shared.domain.routing.catalog import Backend, Deployment
from shared.domain.tenancy.tenant import Tenant

_LARGE_INPUT_CHARACTERS: Final = 65_536
_SWEEP_MARGIN: Final = timedelta(seconds=60)
_BACKGROUND_HOLD: Final = timedelta(days=1) + _SWEEP_MARGIN
_MOST_PUSD: Final = 10**17
"""100,000 USD. The reserved sum of many such requests still is a 64-bit integer."""
_MOST_TOKENS: Final = 10**12
"""Also for models that cost nothing, the reserved sum of many requests is a 64-bit integer."""
_NO_RATE_LIMITS: Final = RateLimits()


class AdmitAttempt:
    """Reserves tokens and dollars of the tenant. Only a request's first attempt counts against its rate limits."""

    def __init__(
        self,
        ledger: Ledger,
        tokenizer: Tokenizer,
        prices: Cached[PriceBook],
        clock: Clock,
        responses: ResponseDirectory,
        instance: str,
        request_seconds: float,
        note_refusal: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`request_seconds` is the longest that a request may take; a reservation is held a little longer.

        `note_refusal` is called with each tenant whose quota, budget or rate limit refuses a request.
        """
        self._note_refusal = note_refusal
        self._ledger = ledger
        self._tokenizer = tokenizer
        self._prices = prices
        self._clock = clock
        self._responses = responses
        self._instance = instance
        self._hold_for = timedelta(seconds=request_seconds) + _SWEEP_MARGIN

    async def count_input(
        self, body: ParsedBody, deployment: Deployment, previous: StoredResponse | None, model: str
    ) -> int:
        """Count input tokens: the body's, the deployment's system prompt, and the context of `previous`.

        A large input is counted on a thread, so that streams go on meanwhile.
        """
        texts = [*body.texts, deployment.system_prompt] if deployment.system_prompt else body.texts
        known = body.fixed_tokens + (previous.context_tokens if previous else 0)
        if body.media is not None:
            known += body.media(model).usual
        if sum(map(len, texts)) > _LARGE_INPUT_CHARACTERS:
            return known + await on_body_thread(self._count, texts, model)
        return known + self._count(texts, model)

    async def __call__(
        self, request: ResolvedRequest, backend: Backend, input_tokens: int, *, is_first: bool
    ) -> tuple[MeteredAttempt, Hold]:
        """Hold the upper bound of one attempt.

        Raises what `Ledger.reserve` raises, `UnpricedModel`, and `InvalidRequest` if no limit could ever admit it.
        """
        body, tenant, now = request.body, request.tenant, self._clock.now()
        created = timestamp(now)
        bound, output_tokens = input_tokens + margin(body, backend.model), request.output_tokens
        spillover, book = backend.spillover_deployment, await self._prices.get()
        if spillover is not None:
            bound = max(bound, await self._most_input(request, spillover.model))
        _check_size(tenant, bound + output_tokens)
        rates = book.rates(backend.price_key, now, body.basis, body.service_tier)
        rate_card, pusd = rates.hold(bound, output_tokens, body.units)
        if spillover is not None:  # Azure decides which of the two serves: the dearer is held
            spilled = book.rates(spillover.price_key, now, body.basis, body.service_tier)
            other = spilled.hold(bound, output_tokens, body.units)
            rate_card, pusd = max((rate_card, pusd), other, key=itemgetter(1))
        if pusd > _MOST_PUSD or bound + output_tokens > _MOST_TOKENS:
            raise InvalidRequest(
                "This request could cost more than 100,000 USD or use over 10^12 tokens. Lower the cap on output.",
                "max_tokens",
            )
        reservation = Reservation(
            rid=new_rid(),
            lane=Lane(tenant.tenant_id, period_of(created)),
            amount=Amount(bound + output_tokens, pusd),
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            created=created,
            deadline=timestamp(now + (_BACKGROUND_HOLD if body.is_background else self._hold_for)),
            instance=self._instance,
            attempt=_facts(request, backend, rate_card.version),
            units=body.usual_units or body.units,
        )
        started_at = self._clock.monotonic()
        try:
            hold = await self._ledger.reserve(_account(tenant, reservation, is_first=is_first), reservation)
        except (PeriodExhausted, RateLimitExceeded):
            self._note_refusal(tenant.tenant_id)
            raise
        attempt = MeteredAttempt(
            ledger=self._ledger,
            clock=self._clock,
            tokenizer=self._tokenizer,
            reservation=hold.reservation,
            rates=rates,
            book=book,
            rate_card=rate_card,
            started_at=started_at,
            usual=_usual(body),
            choices=max(1, body.choices),
            trace=request.call.trace.attempt(),
            response_owner=self._response_owner(request, backend) if body.may_run_on else None,
        )
        return attempt, hold

    def count_predictions(self, body: ParsedBody, model: str) -> int:
        """Count the tokens that the caller predicts: rejected ones are billed as output, beside the cap."""
        return self._count(body.predictions, model) if body.predictions else 0

    async def _most_input(self, request: ResolvedRequest, model: str) -> int:
        """Return the most input tokens of a request for a model."""
        counted = await self.count_input(request.body, request.deployment, request.previous, model)
        return counted + margin(request.body, model)

    def _count(self, texts: Sequence[str], model: str) -> int:
        return sum([self._tokenizer.count(text, model) for text in texts])

    def _response_owner(self, request: ResolvedRequest, backend: Backend) -> ResponseOwner:
        return ResponseOwner(
            directory=self._responses,
            tenant_id=request.tenant.tenant_id,
            deployment=request.deployment.name,
            backend_id=backend.backend_id,
            is_background=request.body.is_background,
            is_stored=request.body.is_stored,
        )


def output_bound(body: ParsedBody, deployment: Deployment, predicted_tokens: int = 0) -> int:
    """Bound the output tokens: the number of choices times the first cap that is set and the rejected predictions.

    The caller's cap comes first, then the deployment's, then its default.
    """
    cap = body.max_output_tokens
    if cap is None:
        cap = deployment.max_output_tokens or deployment.reserve_output_tokens
    return body.choices * (cap + predicted_tokens)


def margin(body: ParsedBody, model: str) -> int:
    """Return the most by which the count of input tokens for a model may be too low."""
    if body.media is None:
        return body.input_margin
    tokens = body.media(model)
    return body.input_margin + tokens.most - tokens.usual


def _account(tenant: Tenant, reservation: Reservation, *, is_first: bool) -> Account:
    return Account(
        tenant_id=tenant.tenant_id,
        period=reservation.lane.period,
        limit=tenant.limit,
        rate_limits=tenant.rate_limits if is_first else _NO_RATE_LIMITS,
        lanes=tenant.lanes,
    )


def _facts(request: ResolvedRequest, backend: Backend, price_version: str) -> Attempt:
    caller, call, body = request.caller, request.call, request.body
    # More than 15 named arguments would be collected in a dictionary first, at 1% of a request.
    attempt = Attempt(
        deployment=request.deployment.name,
        backend=backend.backend_id,
        region=backend.region,
        model=backend.model,
        price_version=price_version,
        user=request.user,
        key_id=caller.key_id,
        request_id=call.request_id,
        cost_center=caller.tenant.cost_center,
        streamed=body.reader is not None,
        operation=request.format.operation,
        variant=body.basis.variant,
        processed_in=backend.processed_in,
        unbounded=_unbounded(request, backend),
        sku=backend.sku,
    )
    if caller.application:
        attempt = replace(attempt, application=caller.application)
    return replace(attempt, prompt_hmac=request.prompt_hmac) if request.prompt_hmac else attempt


def _unbounded(request: ResolvedRequest, backend: Backend) -> str:
    """Name the parts of the consumption that the hold does not bound."""
    body, deployment = request.body, request.deployment
    parts = body.unbounded
    if body.max_output_tokens is None and body.choices and deployment.max_output_tokens is None:
        parts = parts | {"output"}
    if body.media is not None and not body.media(backend.model).is_bounded:
        parts = parts | {"input"}
    return ",".join(sorted(parts)) if parts else ""


def _usual(body: ParsedBody) -> Usage:
    """Estimate the consumption that no answer may show."""
    units = body.usual_units or body.units
    return replace(units, output=body.unseen_output_tokens) if body.unseen_output_tokens else units


def _check_size(tenant: Tenant, tokens: int) -> None:
    """Refuse a request that could never be admitted, so that no client retries it for ever."""
    for limit, name in ((tenant.max_tokens_per_request, "request"), (tenant.tokens_per_minute, "minute")):
        if limit is not None and tokens > limit:
            raise InvalidRequest(
                f"This request may use up to {tokens} tokens, and the tenant is allowed {limit} tokens per {name}. "
                "Shorten the input or lower the cap on the output.",
                "max_tokens",
            )
