"""Serve one inference request: find who may serve it, make one attempt after the other, and book each of them.

One file, because each way through it, also a cancelled one, must book every attempt once and give back every lease.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from shared.application.background import Background
from shared.application.cached import Cached
from shared.application.inference.admit_attempt import AdmitAttempt, output_bound
from shared.application.inference.affinity import home_of
from shared.application.inference.book_answer import (
    AttemptFailed,
    book_completion,
    book_refusal,
    is_failure,
    knows_no_path,
    lacks_deployment,
    unanswered,
)
from shared.application.inference.incoming_call import InferenceCall, Inquiry
from shared.application.inference.meter_stream import Drains, MeteredStream
from shared.application.inference.metered_attempt import MeteredAttempt
from shared.application.ports.clock import Clock
from shared.application.ports.formats import InferenceFormat
from shared.application.ports.inference import ResponseDirectory, Upstream, UpstreamResponse
from shared.application.routing.backend_slot import Lease
from shared.application.routing.dispatch import Dispatcher
from shared.application.tenancy.authenticate import TenantPrincipal
from shared.domain.errors import (
    BackendFailed,
    BackendUnavailable,
    DeploymentNotFound,
    GatewayError,
    InvalidRequest,
    ResponseNotFound,
    TenantSuspended,
)
from shared.domain.inference.parsed_body import InferenceRequest
from shared.domain.inference.stored_response import StoredResponse
from shared.domain.ledger.balance import Balance
from shared.domain.rate_limit import RateStatus, rate_status
from shared.domain.routing.catalog import Backend, BackendApi, Catalog, Route
from shared.domain.routing.paths import operation_path
from shared.domain.routing.selection import Pool
from shared.domain.tenancy.tenant import Tenant, TenantState
from shared.domain.values import value

_LARGE_BODY_BYTES: Final = 1_048_576


@value
class Served:
    """An answer on its way: upstream's status and headers, who served it, and the body or the stream."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    backend: Backend
    attempts: int
    balance: Balance
    rates: Sequence[RateStatus]
    body: bytes = b""
    annotation: str = ""
    """What the content filter found, for a tenant that wants it named."""
    stream: MeteredStream | None = None


@value
class FailoverPolicy:
    """How many attempts a request may have, and for how many seconds another may begin."""

    attempts: int
    seconds: float


@dataclass(slots=True)
class _Run:
    """One request while it is being served."""

    inquiry: Inquiry
    pool: Pool
    output_tokens: int
    input_tokens: dict[str, int]
    home: float | None
    leave: Callable[[], None] | None
    tokens: int
    deadline: float = 0.0
    attempts: int = 0
    under_way: int = 0
    rates: Sequence[RateStatus] = ()
    tried: set[str] = field(default_factory=set)
    unknowing: list[Lease] = field(default_factory=list)
    """Attempts whose backend did not know the path, in which the caller's api-version stands."""
    has_winner: bool = False


@value
class _Reached:
    """An attempt whose answer has begun."""

    lease: Lease
    attempt: MeteredAttempt
    balance: Balance
    response: UpstreamResponse


class ServeInference:
    """The use case behind every inference route."""

    def __init__(
        self,
        admit: AdmitAttempt,
        dispatcher: Dispatcher,
        upstream: Upstream,
        catalog: Cached[Catalog],
        responses: ResponseDirectory,
        clock: Clock,
        background: Background,
        drains: Drains,
        failover: FailoverPolicy,
    ) -> None:
        self._admit = admit
        self._dispatcher = dispatcher
        self._upstream = upstream
        self._catalog = catalog
        self._responses = responses
        self._clock = clock
        self._background = background
        self._drains = drains
        self._failover = failover

    async def __call__(self, caller: TenantPrincipal, call: InferenceCall, wire: InferenceFormat) -> Served:
        """Raises the errors of docs/errors.md; what was consumed is in the ledger in every case."""
        if caller.tenant.state is not TenantState.ACTIVE:
            raise TenantSuspended
        if len(call.body) > _LARGE_BODY_BYTES:  # streams go on while it is read
            request = await asyncio.to_thread(wire.read_request, call.body, call.content_type)
        else:
            request = wire.read_request(call.body, call.content_type)
        run = await self._begin(caller, call, wire, request)
        try:
            return await self._serve(run)
        except GatewayError as error:
            error.rates, error.attempts = run.rates or error.rates, run.attempts
            raise
        finally:
            if run.leave is not None:
                run.leave()

    async def _begin(
        self, caller: TenantPrincipal, call: InferenceCall, wire: InferenceFormat, request: InferenceRequest
    ) -> _Run:
        tenant = caller.tenant
        previous = await self._previous(tenant, request) if request.previous_response_id else None
        catalog, name = await self._catalog.get(), call.deployment or request.model
        if not name:
            raise InvalidRequest("'model' is required and must name a deployment.", "model")
        deployment = catalog.deployments.get(name)
        if deployment is None or name not in tenant.deployments:
            raise DeploymentNotFound
        beside = ""
        if previous is not None:
            keeper = catalog.backends.get(previous.backend_id)
            beside = keeper.endpoint if keeper else ""
        pool = self._dispatcher.pool(catalog, tenant, deployment, beside)
        if previous is not None and not (beside and pool.candidates):
            raise ResponseNotFound
        inquiry = Inquiry(caller, call, wire, request, deployment, previous)
        model = pool.candidates[0].backend.model
        tokens, output_tokens = await self._admit.input_tokens(inquiry, model), output_bound(request, deployment)
        return _Run(
            inquiry,
            pool,
            output_tokens,
            {model: tokens},
            home_of(inquiry, pool, tokens),
            None if tenant.max_concurrent_requests is None else await self._dispatcher.enter(tenant, call.hung_up),
            tokens + output_tokens,
        )

    async def _previous(self, tenant: Tenant, request: InferenceRequest) -> StoredResponse:
        """The response that a request follows."""
        previous = await self._responses.get(tenant.tenant_id, request.previous_response_id)
        if previous is None:
            raise ResponseNotFound
        return previous

    async def _serve(self, run: _Run) -> Served:
        hedge_after_ms = None if run.inquiry.request.is_stored else run.inquiry.deployment.hedge_after_ms
        lease = self._dispatcher.lease_now(run.pool, run.tokens, (), run.home) or await self._dispatcher.lease(
            run.pool, run.inquiry.tenant, run.tokens, (), run.home, hung_up=run.inquiry.call.hung_up
        )
        run.deadline = lease.started_at + self._failover.seconds
        while True:
            try:
                if hedge_after_ms is None:
                    return await self._take(run, await self._reach(run, lease))
                return await self._race(run, lease, hedge_after_ms / 1000)
            except AttemptFailed as failed:
                lease = await self._next(run, failed)

    async def _next(self, run: _Run, failed: AttemptFailed) -> Lease:
        """Another backend, once the attempt that failed is booked. Raises why it failed where there is none."""
        lease = None
        try:
            lease = await self._another(run)
        except BackendUnavailable:
            pass
        except asyncio.CancelledError:
            self._background.start(failed.book(superseded=False))
            raise
        try:
            await failed.book(superseded=lease is not None)
        except BaseException:
            if lease is not None:
                lease.release()
            raise
        if lease is None:
            error = failed.error
            if error.retry_after_seconds is None or len(run.pool.candidates) > 1:
                error.retry_after_seconds = self._dispatcher.retry_after_seconds(run.pool)
            raise error
        return lease

    async def _another(self, run: _Run) -> Lease:
        seconds = run.deadline - self._clock.monotonic()
        if run.attempts >= self._failover.attempts or seconds <= 0:
            raise BackendUnavailable("No further attempt is allowed.")
        return await self._dispatcher.lease(
            run.pool, run.inquiry.tenant, run.tokens, run.tried, run.home, seconds, run.inquiry.call.hung_up
        )

    async def _reach(self, run: _Run, lease: Lease) -> _Reached:
        """Admit an attempt and send it. Raises `AttemptFailed` if no answer begins."""
        run.attempts += 1
        run.under_way += 1
        attempt = None
        try:
            attempt, balance = await self._admitted(run, lease.backend)
            response = await self._send(run, lease)
        except BackendFailed as error:
            assert attempt is not None, "only backends fail so"
            raise self._failed(run, lease, error, attempt) from error
        except asyncio.CancelledError:
            lease.release()
            if attempt is not None:
                code, superseded = "hedged" if run.has_winner else "cancelled", run.has_winner or run.under_way > 1
                self._background.start(attempt.charge_input(499, code, superseded=superseded))
            raise
        except BaseException:
            lease.release()
            raise
        finally:
            run.under_way -= 1
        return _Reached(lease, attempt, balance, response)

    async def _admitted(self, run: _Run, backend: Backend) -> tuple[MeteredAttempt, Balance]:
        inquiry, tokens, is_first = run.inquiry, run.input_tokens.get(backend.model), run.attempts == 1
        if tokens is None:
            tokens = run.input_tokens[backend.model] = await self._admit.input_tokens(inquiry, backend.model)
        attempt, hold = await self._admit(inquiry, backend, tokens, run.output_tokens, is_first=is_first)
        if is_first and inquiry.tenant.is_rated:
            run.rates = rate_status(hold.rates, hold.balance.arrivals, self._clock.now())
        return attempt, hold.balance

    def _send(self, run: _Run, lease: Lease) -> Awaitable[UpstreamResponse]:
        inquiry, backend, upstream_deployment = run.inquiry, lease.backend, lease.backend.upstream_deployment
        call, request, wire = inquiry.call, inquiry.request, inquiry.wire
        is_in_path = call.deployment is not None and backend.api is BackendApi.AZURE
        if backend.api is BackendApi.OPENAI:
            path = f"/{wire.operation}"
        elif is_in_path:
            api_version = backend.api_version or call.api_version
            path = operation_path(call.base, upstream_deployment, wire.operation, api_version)
        else:
            path = operation_path(call.base, None, wire.operation, call.api_version)
        model = None if is_in_path or upstream_deployment == request.model else upstream_deployment
        body = wire.forwarded_body(request, Route(inquiry.deployment, backend), model)
        seconds = run.deadline - lease.started_at
        return self._upstream.send(backend, "POST", path, body, call.headers, seconds)

    async def _take(self, run: _Run, reached: _Reached) -> Served:
        """What the caller gets of an answer. Raises `AttemptFailed` if another backend may do better."""
        inquiry, lease, attempt, response = run.inquiry, reached.lease, reached.attempt, reached.response
        backend, status, headers = lease.backend, response.status, response.headers
        reader = inquiry.request.reader
        is_stream = reader is not None and status == 200 and not _is_json(response)
        if status != 404:  # what that means is in its body
            lease.judge(status, headers, is_stream=is_stream)
        if status == 200:
            for unknowing in run.unknowing:
                unknowing.misconfigured("status 404")
        if reader is not None and is_stream:
            lease.before(run.leave)
            run.leave = None
            stream = MeteredStream(
                attempt, response, inquiry.wire, reader(), self._background, inquiry.tenant, self._drains, lease
            )
            return Served(status, headers, backend, run.attempts, reached.balance, run.rates, stream=stream)
        try:
            body = await response.read()
        except BackendFailed as error:
            raise self._failed(run, lease, error, attempt) from error
        except asyncio.CancelledError:
            lease.release()
            self._background.start(attempt.charge_input(499, "cancelled"))
            raise
        return await self._book(run, reached, body)

    async def _book(self, run: _Run, reached: _Reached, body: bytes) -> Served:
        lease, response, annotation = reached.lease, reached.response, ""
        try:
            if response.status == 200:
                booked, annotation = await book_completion(run.inquiry, body, reached.attempt)
                balance = booked or reached.balance
            else:
                if response.status == 404:
                    _judge_absence(run, lease, response, body)
                balance = await book_refusal(run.inquiry, response, body, reached.attempt)
        except AttemptFailed:
            if not lease.health.is_throttled:
                run.tried.add(lease.backend.backend_id)
            raise
        finally:
            lease.release()
        return Served(
            response.status, response.headers, lease.backend, run.attempts, balance, run.rates, body, annotation
        )

    def _failed(self, run: _Run, lease: Lease, error: BackendFailed, attempt: MeteredAttempt) -> AttemptFailed:
        run.tried.add(lease.backend.backend_id)
        lease.failed(str(error))
        lease.release()
        return unanswered(error, attempt)

    async def _race(self, run: _Run, lease: Lease, hedge_seconds: float) -> Served:
        """Ask a second backend if the first is slow to begin; whose answer begins first serves, the other is billed."""
        racing = {asyncio.create_task(self._reach(run, lease))}
        try:
            done, _ = await asyncio.wait(racing, timeout=hedge_seconds)
            if not done and run.attempts < self._failover.attempts:
                other = self._dispatcher.take(run.pool, run.tokens, {*run.tried, lease.backend.backend_id})
                if other is not None:
                    racing.add(asyncio.create_task(self._reach(run, other)))
            served = None
            while served is None:
                served = await self._first_of(run, racing)
            return served
        finally:
            await self._end(racing)

    async def _first_of(self, run: _Run, racing: set[asyncio.Task[_Reached]]) -> Served | None:
        """What the first of some attempts gives; `None` if it failed while another is under way."""
        done, _ = await asyncio.wait(racing, return_when=asyncio.FIRST_COMPLETED)
        first = min(done, key=lambda task: task.exception() is not None)
        racing.discard(first)
        try:
            reached = first.result()
            status = reached.response.status
            if not is_failure(status) and status != 404:  # what that means is in its body
                run.has_winner = True
                await self._end(racing)
            served = await self._take(run, reached)
            run.has_winner = True
            return served
        except AttemptFailed as failed:
            if not racing:
                raise
            await failed.book(superseded=True)
        except GatewayError:
            if not racing:
                raise
        return None

    async def _end(self, racing: set[asyncio.Task[_Reached]]) -> None:
        """Cancel attempts that have lost, and book what they consumed."""
        for task in racing:
            task.cancel()
        for ended in await asyncio.gather(*racing, return_exceptions=True):
            if isinstance(ended, AttemptFailed):
                self._background.start(ended.book(superseded=True))
            elif isinstance(ended, _Reached):
                ended.response.close()
                ended.lease.release()
                self._background.start(ended.attempt.charge_input(499, "hedged", superseded=True))
        racing.clear()


def _judge_absence(run: _Run, lease: Lease, response: UpstreamResponse, body: bytes) -> None:
    """Tell from a 404 whether the backend is configured wrong. That may turn out later, when another one serves."""
    is_unknown = knows_no_path(404, body)
    is_absent = lacks_deployment(404, body) or (is_unknown and not run.inquiry.call.own_version_at(lease.backend))
    lease.judge(404, response.headers, lacks_deployment=is_absent)
    if is_unknown and not is_absent:
        run.unknowing.append(lease)


def _is_json(response: UpstreamResponse) -> bool:
    """Whether an answer is one document, whatever was asked for."""
    return any(name == b"content-type" and text.startswith(b"application/json") for name, text in response.headers)
