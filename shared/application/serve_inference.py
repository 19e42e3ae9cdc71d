"""Serve one inference request: admit it, forward it, meter it, and book what it consumed before the last byte goes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from urllib.parse import quote

from shared.application.authenticate import TenantPrincipal
from shared.application.background import Background
from shared.application.cached import Cached
from shared.application.inference_format import InferenceFormat, InferenceRequest
from shared.application.keep_response import KeepResponse
from shared.application.meter_stream import Drains, MeteredStream
from shared.application.metered_attempt import MeteredAttempt
from shared.application.ports import Clock, Hold, Ledger, ResponseDirectory, Tokenizer, Upstream, UpstreamResponse
from shared.domain.content_filter import ContentFilterPolicy, noted, refused_categories
from shared.domain.errors import (
    BackendBroken,
    BackendTimeout,
    BackendUnavailable,
    ContentFiltered,
    DeploymentNotFound,
    GatewayError,
    InvalidRequest,
    ResidencyViolation,
    ResponseNotFound,
    TenantSuspended,
)
from shared.domain.identifiers import BillingPeriod, new_rid, timestamp
from shared.domain.ledger import Account, Amount, Attempt, Balance, Lane, Reservation
from shared.domain.pricing import PriceBook
from shared.domain.rate_limit import RateStatus, rate_status
from shared.domain.responses import StoredResponse
from shared.domain.routing import Backend, Catalog, Route, eligible
from shared.domain.tenancy import Tenant, TenantState
from shared.domain.usage import Usage
from shared.domain.values import value

MAX_USER_CHARACTERS = 256
_LARGE_BODY_BYTES = 1_048_576
_LARGE_INPUT_CHARACTERS = 262_144
_SWEEP_MARGIN_SECONDS = 60
_BACKGROUND_SECONDS = 86_400
_REFUSED_FOR_NOW = frozenset({429, 503})
_MISCONFIGURED = frozenset({401, 403, 404})


@value
class InferenceCall:
    """What a caller asks for."""

    request_id: str
    body: bytes
    content_type: str
    deployment: str | None
    """The deployment in the path, or `None` where the body's `model` names it."""
    base: str
    """What stands before the operation in the path: `/openai/v1`, or `/openai` in the dated API."""
    api_version: str
    headers: Mapping[str, str]
    user: str


@value
class Served:
    """An answer on its way: upstream's status and headers, who served it, and the body or the stream."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    backend: Backend
    balance: Balance
    rates: Sequence[RateStatus]
    body: bytes = b""
    annotation: str = ""
    """What the content filter found, for a tenant that wants it named."""
    stream: MeteredStream | None = None


class ServeInference:
    """The use case behind every inference route."""

    def __init__(
        self,
        ledger: Ledger,
        upstream: Upstream,
        tokenizer: Tokenizer,
        catalog: Cached[Catalog],
        prices: Cached[PriceBook],
        clock: Clock,
        background: Background,
        request_seconds: float,
        drains: Drains,
        instance: str,
        responses: ResponseDirectory,
    ) -> None:
        self._responses = responses
        self._ledger = ledger
        self._upstream = upstream
        self._tokenizer = tokenizer
        self._catalog = catalog
        self._prices = prices
        self._clock = clock
        self._background = background
        self._request_seconds = request_seconds
        self._drains = drains
        self._instance = instance

    async def __call__(self, caller: TenantPrincipal, call: InferenceCall, wire: InferenceFormat) -> Served:
        """Raises the errors of docs/errors.md; what was consumed is in the ledger in every case."""
        if caller.tenant.state is not TenantState.ACTIVE:
            raise TenantSuspended
        if len(call.body) > _LARGE_BODY_BYTES:  # streams go on while it is read
            request = await asyncio.to_thread(wire.read_request, call.body, call.content_type)
        else:
            request = wire.read_request(call.body, call.content_type)
        previous = await self._previous(caller.tenant, request)
        route = await self._route(caller.tenant, call.deployment or request.model, previous)
        attempt, hold = await self._admit(caller, call, request, wire, route, previous)
        rates = rate_status(hold.rates, hold.balance.arrivals, self._clock.now()) if caller.tenant.is_rated else ()
        try:
            return await self._serve_admitted(caller, call, request, wire, route, attempt, hold.balance, rates)
        except GatewayError as error:
            error.rates = rates
            raise

    async def _serve_admitted(
        self,
        caller: TenantPrincipal,
        call: InferenceCall,
        request: InferenceRequest,
        wire: InferenceFormat,
        route: Route,
        attempt: MeteredAttempt,
        balance: Balance,
        rates: Sequence[RateStatus],
    ) -> Served:
        backend = route.backends[0]
        try:
            response = await self._send(call, request, wire, route, backend)
            if request.reader is not None and response.status == 200 and not _is_json(response):
                stream = MeteredStream(
                    attempt, response, wire, request.reader(), self._background, caller.tenant, self._drains
                )
                return Served(response.status, tuple(response.headers), backend, balance, rates, stream=stream)
            body = await response.read()
        except BackendUnavailable:
            await attempt.void(status=503, error_code="no_backend_available")
            raise
        except BackendTimeout:
            await attempt.charge_input(status=504, error_code="backend_timeout")
            raise
        except BackendBroken:
            await attempt.charge_input(status=502, error_code="backend_error")
            raise
        except asyncio.CancelledError:
            self._background.start(attempt.charge_input(status=499, error_code="cancelled"))
            raise
        annotation = ""
        if response.status == 200:
            booked, annotation = await self._book_completion(caller.tenant, request, wire, body, attempt)
            balance = booked or balance
        else:
            balance = await self._book_refusal(wire, response, body, attempt)
        return Served(response.status, tuple(response.headers), backend, balance, rates, body, annotation)

    async def _previous(self, tenant: Tenant, request: InferenceRequest) -> StoredResponse | None:
        """The response that a request follows."""
        if not request.previous_response_id:
            return None
        previous = await self._responses.get(tenant.tenant_id, request.previous_response_id)
        if previous is None:
            raise ResponseNotFound
        return previous

    async def _route(self, tenant: Tenant, name: str | None, previous: StoredResponse | None) -> Route:
        if not name:
            raise InvalidRequest("'model' is required and must name a deployment.", "model")
        catalog = await self._catalog.get()
        deployment = catalog.deployments.get(name)
        if deployment is None or name not in tenant.deployments:
            raise DeploymentNotFound
        pool = catalog.pool(deployment)
        if not pool:
            raise BackendUnavailable(f"No backend is configured for the deployment '{name}'.")
        backends = eligible(pool, tenant.residency)
        if not backends:
            raise ResidencyViolation(
                f"No backend of the deployment '{name}' lies where this tenant's data may be processed."
            )
        if previous is not None:
            backends = _beside(backends, catalog.backends.get(previous.backend_id))
        return Route(deployment, tuple(backends))

    async def _admit(
        self,
        caller: TenantPrincipal,
        call: InferenceCall,
        request: InferenceRequest,
        wire: InferenceFormat,
        route: Route,
        previous: StoredResponse | None,
    ) -> tuple[MeteredAttempt, Hold]:
        """Hold the upper bound of what the attempt can cost."""
        backend = route.backends[0]
        tenant, now, prices = caller.tenant, self._clock.now(), await self._prices.get()
        rates = prices.rate_card(backend.billed_as, now, request.basis)
        input_tokens = await self._input_tokens(request, route) + (previous.context_tokens if previous else 0)
        output_tokens = request.choices * _output_bound(request, route)
        bound = input_tokens + request.input_margin
        _check_size(tenant, bound + output_tokens)
        seconds = _BACKGROUND_SECONDS if request.is_background else self._request_seconds
        deadline = now + timedelta(seconds=seconds + _SWEEP_MARGIN_SECONDS)
        reservation = Reservation(
            rid=new_rid(),
            lane=Lane(tenant.tenant_id, str(BillingPeriod.containing(now))),
            amount=Amount(bound + output_tokens, rates.bound(bound, output_tokens, request.units)),
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            created=timestamp(now),
            deadline=timestamp(deadline),
            instance=self._instance,
            attempt=Attempt(
                deployment=route.deployment.name,
                backend=backend.backend_id,
                region=backend.region,
                model=backend.model,
                price_version=rates.version,
                user=call.user or request.user[:MAX_USER_CHARACTERS] or caller.key_id,
                key_id=caller.key_id,
                request_id=call.request_id,
                cost_center=tenant.cost_center,
                streamed=request.reader is not None,
                operation=wire.operation,
                variant=request.basis.variant,
            ),
            units=request.usual_units or request.units,
        )
        started_at = self._clock.monotonic()
        account = Account(tenant.tenant_id, reservation.lane.period, tenant.limit, tenant.rates, tenant.lanes)
        hold = await self._ledger.reserve(account, reservation)
        keeper = None
        if request.is_stored:
            keeper = KeepResponse(
                self._responses, tenant.tenant_id, route.deployment.name, backend.backend_id, request.is_background
            )
        usual = _usual(request)
        return MeteredAttempt(
            self._ledger, self._clock, self._tokenizer, hold.reservation, rates, started_at, usual, keeper
        ), hold

    async def _input_tokens(self, request: InferenceRequest, route: Route) -> int:
        """What is sent in, with the deployment's own prompt. Much is counted on a thread, so that streams go on."""
        texts, model = request.texts, route.backends[0].model
        if route.deployment.system_prompt:
            texts = [*texts, route.deployment.system_prompt]
        if sum(map(len, texts)) > _LARGE_INPUT_CHARACTERS:
            return request.fixed_tokens + await asyncio.to_thread(self._count, texts, model)
        return request.fixed_tokens + self._count(texts, model)

    def _count(self, texts: Sequence[str], model: str) -> int:
        return sum([self._tokenizer.count(text, model) for text in texts])

    async def _send(
        self, call: InferenceCall, request: InferenceRequest, wire: InferenceFormat, route: Route, backend: Backend
    ) -> UpstreamResponse:
        upstream_deployment = backend.upstream_deployment if call.deployment is not None else None
        path = _upstream_path(upstream_deployment, call.base, wire.operation, call.api_version)
        model = None
        if upstream_deployment is None and backend.upstream_deployment != request.model:
            model = backend.upstream_deployment
        body = wire.forwarded_body(request, route, model)
        return await self._upstream.send(backend, "POST", path, body, call.headers)

    @staticmethod
    async def _book_completion(
        tenant: Tenant, request: InferenceRequest, wire: InferenceFormat, body: bytes, attempt: MeteredAttempt
    ) -> tuple[Balance | None, str]:
        """Settle an answer, unless upstream still works on it; the balance after it, and its findings where the tenant
        wants them named."""
        try:
            completion = wire.read_completion(request, body)
        except BackendBroken:
            await attempt.charge_input(status=502, error_code="backend_error")
            raise
        if completion.is_running and attempt.is_background:
            await attempt.defer(completion.response_id)
            return None, ""
        policy, refused = tenant.content_filter_policy, list[str]()
        if completion.findings and policy is ContentFilterPolicy.BLOCK:
            refused = refused_categories(completion.findings, tenant.content_filter_threshold)
        balance = await attempt.charge(
            completion.usage,
            units=completion.units,
            texts=completion.texts,
            status=400 if refused else 200,
            error_code="content_filter" if refused else "",
            findings=completion.findings,
            service_tier=completion.service_tier,
            response_id=completion.response_id,
        )
        if refused:
            raise ContentFiltered(refused)
        return balance, noted(completion.findings) if policy is ContentFilterPolicy.ANNOTATE else ""

    @staticmethod
    async def _book_refusal(
        wire: InferenceFormat, response: UpstreamResponse, body: bytes, attempt: MeteredAttempt
    ) -> Balance:
        """Book an answer other than 200; raises unless upstream's own answer is what the caller should see."""
        status = response.status
        filtered = wire.filtered_prompt(status, body)
        if filtered is not None:
            return await attempt.charge_input(status=status, error_code="content_filter", findings=filtered)
        balance = await attempt.void(status=status, error_code=f"upstream_{status}")
        if status in _REFUSED_FOR_NOW:
            raise BackendUnavailable("Every backend of the deployment is busy. Retry later.", _retry_after(response))
        if status >= 500 or status in _MISCONFIGURED:
            raise BackendBroken(f"The backend refused the gateway's request with status {status}.")
        if status == 408:
            raise BackendTimeout("The backend gave up waiting for the request.")
        return balance


@lru_cache(maxsize=1024)
def _upstream_path(deployment: str | None, base: str, operation: str, api_version: str) -> str:
    """The path of an operation, with the deployment in it unless the body names that."""
    path = (
        f"{base}/{operation}" if deployment is None else f"{base}/deployments/{quote(deployment, safe='')}/{operation}"
    )
    return f"{path}?api-version={quote(api_version, safe='')}" if api_version else path


def _beside(backends: Sequence[Backend], keeper: Backend | None) -> list[Backend]:
    """The backends in the resource that keeps a response; another resource knows nothing of it."""
    near = [backend for backend in backends if keeper is not None and backend.endpoint == keeper.endpoint]
    if not near:
        raise ResponseNotFound
    return near


def _usual(request: InferenceRequest) -> Usage:
    """What an attempt probably consumes of what no answer may show."""
    units = request.usual_units or request.units
    return replace(units, output=request.unseen_output_tokens) if request.unseen_output_tokens else units


def _output_bound(request: InferenceRequest, route: Route) -> int:
    """The most tokens one choice can have: the caller's cap, else the deployment's, else what is held by default."""
    if request.max_output_tokens is not None:
        return request.max_output_tokens
    return route.deployment.max_output_tokens or route.deployment.reserve_output_tokens


def _check_size(tenant: Tenant, tokens: int) -> None:
    """Refuse what can never be admitted, so that no client retries it for ever."""
    for limit, name in ((tenant.max_tokens_per_request, "request"), (tenant.tokens_per_minute, "minute")):
        if limit is not None and tokens > limit:
            raise InvalidRequest(
                f"This request may use up to {tokens} tokens, and the tenant is allowed {limit} tokens per {name}. "
                "Shorten the input or lower the cap on the output.",
                "max_tokens",
            )


def _is_json(response: UpstreamResponse) -> bool:
    """Whether an answer is one document, whatever was asked for."""
    return any(
        name.lower() == b"content-type" and text.startswith(b"application/json") for name, text in response.headers
    )


def _retry_after(response: UpstreamResponse) -> float:
    """Seconds until upstream wants to be asked again: `retry-after-ms`, else `retry-after`, else one."""
    stated = {name.lower(): value for name, value in response.headers}
    for name, unit in ((b"retry-after-ms", 1000), (b"retry-after", 1)):
        value = stated.get(name, b"")
        if value.isdigit():
            return int(value) / unit
    return 1.0
