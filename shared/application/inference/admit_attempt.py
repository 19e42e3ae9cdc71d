"""Hold in the ledger the upper bound of what one attempt can cost, before it is made."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from shared.application.cached import Cached
from shared.application.inference.incoming_call import MAX_USER_CHARACTERS, Inquiry
from shared.application.inference.metered_attempt import MeteredAttempt
from shared.application.inference.remember_response import KeepResponse
from shared.application.ports.clock import Clock
from shared.application.ports.inference import ResponseDirectory, Tokenizer
from shared.application.ports.ledger import Hold, Ledger
from shared.domain.errors import InvalidRequest
from shared.domain.identifiers import BillingPeriod, new_rid, timestamp
from shared.domain.inference.parsed_body import InferenceRequest
from shared.domain.ledger.amounts import Amount
from shared.domain.ledger.balance import Account, Lane
from shared.domain.ledger.entries import Attempt, Reservation
from shared.domain.pricing.price_book import PriceBook
from shared.domain.pricing.usage import Usage
from shared.domain.rate_limit import RateLimits
from shared.domain.routing.catalog import Backend, Deployment
from shared.domain.tenancy.tenant import Tenant

_LARGE_INPUT_CHARACTERS: Final = 262_144
_SWEEP_MARGIN: Final = timedelta(seconds=60)
_HELD_IN_BACKGROUND: Final = timedelta(days=1) + _SWEEP_MARGIN
_UNRATED: Final = RateLimits()


class AdmitAttempt:
    """Reserves tokens and dollars of an attempt's tenant; the first attempt counts against its limits a minute."""

    def __init__(
        self,
        ledger: Ledger,
        tokenizer: Tokenizer,
        prices: Cached[PriceBook],
        clock: Clock,
        responses: ResponseDirectory,
        instance: str,
        request_seconds: float,
    ) -> None:
        self._ledger = ledger
        self._tokenizer = tokenizer
        self._prices = prices
        self._clock = clock
        self._responses = responses
        self._instance = instance
        self._held_for = timedelta(seconds=request_seconds) + _SWEEP_MARGIN

    async def input_tokens(self, inquiry: Inquiry, model: str) -> int:
        """What is sent in, with the deployment's own prompt. Much is counted on a thread, so that streams go on."""
        request, prompt = inquiry.request, inquiry.deployment.system_prompt
        texts = [*request.texts, prompt] if prompt else request.texts
        known = request.fixed_tokens + (inquiry.previous.context_tokens if inquiry.previous else 0)
        if sum(map(len, texts)) > _LARGE_INPUT_CHARACTERS:
            return known + await asyncio.to_thread(self._count, texts, model)
        return known + self._count(texts, model)

    async def __call__(
        self, inquiry: Inquiry, backend: Backend, input_tokens: int, output_tokens: int, *, is_first: bool
    ) -> tuple[MeteredAttempt, Hold]:
        """Raises what `Ledger.reserve` raises, `UnpricedModel`, and `InvalidRequest` where no limit could admit it."""
        request, tenant, deployment = inquiry.request, inquiry.tenant, inquiry.deployment
        now, prices = self._clock.now(), await self._prices.get()
        rates = prices.rate_card(backend.billed_as, now, request.basis)
        bound = input_tokens + request.input_margin
        _check_size(tenant, bound + output_tokens)
        held_for = _HELD_IN_BACKGROUND if request.is_background else self._held_for
        reservation = Reservation(  # by place: ADR 13
            new_rid(),
            Lane(tenant.tenant_id, str(BillingPeriod.containing(now))),
            Amount(bound + output_tokens, rates.bound(bound, output_tokens, request.units)),
            input_tokens,
            output_tokens,
            timestamp(now),
            timestamp(now + held_for),
            self._instance,
            _facts(inquiry, backend, rates.version),
            request.usual_units or request.units,
        )
        started_at = self._clock.monotonic()
        limits = tenant.rates if is_first else _UNRATED
        account = Account(tenant.tenant_id, reservation.lane.period, tenant.limit, limits, tenant.lanes)
        hold = await self._ledger.reserve(account, reservation)
        keeper = None
        if request.is_stored:
            keeper = KeepResponse(
                self._responses, tenant.tenant_id, deployment.name, backend.backend_id, request.is_background
            )
        attempt = MeteredAttempt(
            self._ledger, self._clock, self._tokenizer, hold.reservation, rates, started_at, _usual(request), keeper
        )
        return attempt, hold

    def _count(self, texts: Sequence[str], model: str) -> int:
        return sum([self._tokenizer.count(text, model) for text in texts])


def output_bound(request: InferenceRequest, deployment: Deployment) -> int:
    """The most tokens of output: for each choice the caller's cap, else the deployment's, else its default."""
    cap = request.max_output_tokens
    if cap is None:
        cap = deployment.max_output_tokens or deployment.reserve_output_tokens
    return request.choices * cap


def _facts(inquiry: Inquiry, backend: Backend, price_version: str) -> Attempt:
    caller, call, request = inquiry.caller, inquiry.call, inquiry.request
    return Attempt(  # by place: ADR 13
        inquiry.deployment.name,
        backend.backend_id,
        backend.region,
        backend.model,
        price_version,
        call.user or request.user[:MAX_USER_CHARACTERS] or caller.key_id,
        caller.key_id,
        call.request_id,
        caller.tenant.cost_center,
        request.reader is not None,
        inquiry.wire.operation,
        request.basis.variant,
        backend.processed_in,
    )


def _usual(request: InferenceRequest) -> Usage:
    """What an attempt probably consumes of what no answer may show."""
    units = request.usual_units or request.units
    return replace(units, output=request.unseen_output_tokens) if request.unseen_output_tokens else units


def _check_size(tenant: Tenant, tokens: int) -> None:
    """Refuse what can never be admitted, so that no client retries it for ever."""
    for limit, name in ((tenant.max_tokens_per_request, "request"), (tenant.tokens_per_minute, "minute")):
        if limit is not None and tokens > limit:
            raise InvalidRequest(
                f"This request may use up to {tokens} tokens, and the tenant is allowed {limit} tokens per {name}. "
                "Shorten the input or lower the cap on the output.",
                "max_tokens",
            )
