"""One attempt at one backend: admit it, send it, read its answer, and book it exactly once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence

from shared.application.background import Background
from shared.application.inference.admit_attempt import AdmitAttempt
from shared.application.inference.book_answer import AttemptFailed, Booked, book_completion, book_refusal, unanswered
from shared.application.inference.meter_stream import Drains, MeteredStream
from shared.application.inference.metered_attempt import MeteredAttempt
from shared.application.inference.resolved_request import ResolvedRequest, ServingState
from shared.application.inference.spilled_attempt import as_served
from shared.application.ports.clock import Clock
from shared.application.ports.inference import Upstream, UpstreamResponse
from shared.application.ports.telemetry import Telemetry
from shared.application.routing.backend_slot import BackendSlot
from shared.application.telemetry.request_trace import TRACEPARENT
from shared.domain.errors import AnswerTooLarge, BackendBroken, BackendFailed
from shared.domain.inference.parsed_body import EventReader
from shared.domain.ledger.balance import Balance
from shared.domain.rate_limit import LimitStatus, limit_status
from shared.domain.routing.answer import Answer, Headers, Meaning, classify
from shared.domain.routing.catalog import Backend, BackendApi, Route
from shared.domain.routing.paths import operation_path
from shared.domain.routing.spillover import mentions_spillover
from shared.domain.telemetry.instruments import SPILLOVERS
from shared.domain.values import fact


@fact
class Served:
    """An answer for the client: upstream's status and headers, and a body or a stream."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    backend: Backend
    attempts: int
    balance: Balance
    limit_status: Sequence[LimitStatus]
    body: bytes = b""
    annotation: str = ""
    """The content filter's findings, for a tenant whose policy is `annotate`."""
    stream: MeteredStream | None = None


@fact
class Reached:
    """An attempt whose answer has begun: its head is there."""

    slot: BackendSlot
    attempt: MeteredAttempt
    balance: Balance
    response: UpstreamResponse
    answer: Answer
    """Classified by its head alone."""


class AttemptBackend:
    """Makes attempts. Whatever becomes of one, also a cancelled one, it is booked once and its slot is released."""

    def __init__(
        self,
        admit: AdmitAttempt,
        upstream: Upstream,
        clock: Clock,
        background: Background,
        drains: Drains,
        telemetry: Telemetry,
    ) -> None:
        self._telemetry = telemetry
        self._admit = admit
        self._upstream = upstream
        self._clock = clock
        self._background = background
        self._drains = drains

    async def reach(self, request: ResolvedRequest, state: ServingState, slot: BackendSlot) -> Reached:
        """Reserve the attempt in the ledger and send it. Raises `AttemptFailed` if no answer begins."""
        state.attempts += 1
        state.under_way += 1
        attempt = None
        try:
            attempt, balance = await self._admitted(request, state, slot.backend)
            trace, monotonic = attempt.trace, self._clock.monotonic
            headers = {**request.call.headers, TRACEPARENT: request.call.trace.traceparent(attempt.reservation.rid)}
            trace.sent_at = monotonic()
            response = await self._send(request, state, slot, headers)
            trace.head_at, trace.status = monotonic(), response.status
            if mentions_spillover(response.headers):
                attempt = self._spilled(attempt, request, slot.backend, response.headers)
        except BackendFailed as error:
            assert attempt is not None, "only the backend raises it"
            raise _failed(state, slot, error, attempt) from error
        except asyncio.CancelledError:
            slot.release()
            if attempt is not None:
                self._book_cancelled(state, attempt)
            raise
        except BaseException:
            slot.release()
            raise
        finally:
            state.under_way -= 1
        return Reached(slot=slot, attempt=attempt, balance=balance, response=response, answer=classify(response))

    async def answer(self, request: ResolvedRequest, state: ServingState, reached: Reached) -> Served:
        """Judge, read and book the answer. Raises `AttemptFailed` if another backend may do better."""
        slot, response, answer = reached.slot, reached.response, reached.answer
        reader = request.body.reader
        is_stream = reader is not None and answer.meaning is Meaning.COMPLETED and not _is_json(response)
        slot.judge(answer, response.headers, is_stream=is_stream)
        if answer.meaning is Meaning.COMPLETED:
            for unknown in state.path_unknown_at:
                unknown.misconfigured("status 404")
        try:
            if reader is not None and is_stream:
                _check_coding(response)
                return self._stream(request, state, reached, reader())
            body = await response.read()
        except AnswerTooLarge:
            slot.release()
            await reached.attempt.charge_hold(502, "answer_too_large")
            raise
        except BackendFailed as error:
            raise _failed(state, slot, error, reached.attempt) from error
        except asyncio.CancelledError:
            slot.release()
            self._background.start(reached.attempt.charge_input(499, "cancelled"))
            raise
        return await self._book(request, state, reached, body)

    def abandon(self, reached: Reached) -> None:
        """Close an answer that came too late in a race, and charge its input in the background."""
        reached.response.close()
        reached.slot.release()
        self._background.start(reached.attempt.charge_input(499, "hedged", superseded=True))

    async def _admitted(
        self, request: ResolvedRequest, state: ServingState, backend: Backend
    ) -> tuple[MeteredAttempt, Balance]:
        is_first, tokens = state.attempts == 1, state.input_tokens.get(backend.model)
        if tokens is None:
            tokens = await self._admit.count_input(request.body, request.deployment, request.previous, backend.model)
            state.input_tokens[backend.model] = tokens
        attempt, hold = await self._admit(request, backend, tokens, is_first=is_first)
        if is_first and request.tenant.has_rate_limits:
            state.limit_status = limit_status(hold.rate_limits, hold.balance.arrivals, self._clock.now())
        return attempt, hold.balance

    def _send(
        self, request: ResolvedRequest, state: ServingState, slot: BackendSlot, headers: Mapping[str, str]
    ) -> Awaitable[UpstreamResponse]:
        call, backend, body = request.call, slot.backend, request.body
        is_in_path = call.deployment is not None and backend.api is BackendApi.AZURE
        model = None if is_in_path or backend.upstream_deployment == body.model else backend.upstream_deployment
        content = request.format.forwarded_body(body, Route(request.deployment, backend), model)
        path = _path(request, backend, is_in_path=is_in_path)
        return self._upstream.send(backend, "POST", path, content, headers, state.deadline - slot.started_at)

    def _spilled(
        self, attempt: MeteredAttempt, request: ResolvedRequest, backend: Backend, headers: Headers
    ) -> MeteredAttempt:
        served = as_served(attempt, request, backend, headers)
        if served.served is not None:
            self._telemetry.add(SPILLOVERS, 1, backend.backend_id, backend.region)
        return served

    def _stream(self, request: ResolvedRequest, state: ServingState, reached: Reached, reader: EventReader) -> Served:
        slot, response = reached.slot, reached.response
        slot.after_release(state.release_turn)
        state.release_turn = None
        stream = MeteredStream(
            reached.attempt,
            response,
            request.format,
            reader,
            self._background,
            request.tenant,
            self._drains,
            slot,
            request.call.trace,
        )
        return Served(
            status=response.status,
            headers=response.headers,
            backend=slot.backend,
            attempts=state.attempts,
            balance=reached.balance,
            limit_status=state.limit_status,
            stream=stream,
        )

    async def _book(self, request: ResolvedRequest, state: ServingState, reached: Reached, body: bytes) -> Served:
        slot, response, booked = reached.slot, reached.response, Booked(balance=None)
        try:
            if reached.answer.meaning is Meaning.COMPLETED:
                booked = await book_completion(request, body, reached.attempt)
                balance = booked.balance or reached.balance
            else:
                balance = await book_refusal(_classify_with_body(request, state, reached, body), reached.attempt)
        except AttemptFailed:
            if not slot.health.is_throttled:
                state.tried.add(slot.backend.backend_id)
            raise
        finally:
            slot.release()
        changed = booked.replacement
        return Served(
            status=response.status,
            headers=response.headers if changed is None else _typed(response.headers, changed.content_type),
            backend=slot.backend,
            attempts=state.attempts,
            balance=balance,
            limit_status=state.limit_status,
            body=body if changed is None else changed.body,
            annotation=booked.annotation,
        )

    def _book_cancelled(self, state: ServingState, attempt: MeteredAttempt) -> None:
        """Charge the input of an attempt that was cancelled while upstream may have worked on it."""
        code = "hedged" if state.has_winner else "cancelled"
        superseded = state.has_winner or state.under_way > 1
        self._background.start(attempt.charge_input(499, code, superseded=superseded))


def _classify_with_body(request: ResolvedRequest, state: ServingState, reached: Reached, body: bytes) -> Answer:
    """Classify a refusal by its body, and judge the slot if its head was not enough to do so."""
    slot, response = reached.slot, reached.response
    answer = classify(
        response,
        body,
        filtered_prompt=request.format.filtered_prompt,
        caller_version=request.call.api_version_sent_to(slot.backend),
    )
    if reached.answer.meaning is Meaning.UNDECIDED:
        slot.judge(answer, response.headers)
    if answer.meaning is Meaning.UNKNOWN_VERSION:
        state.path_unknown_at.append(slot)  # if another backend serves the request, this one is misconfigured
    return answer


def _failed(state: ServingState, slot: BackendSlot, error: BackendFailed, attempt: MeteredAttempt) -> AttemptFailed:
    state.tried.add(slot.backend.backend_id)
    slot.failed(str(error))
    slot.release()
    return unanswered(error, attempt)


def _path(request: ResolvedRequest, backend: Backend, *, is_in_path: bool) -> str:
    """Return the path of the operation at a backend, below its endpoint."""
    call, operation = request.call, request.format.operation
    if backend.api is BackendApi.OPENAI:
        return f"/{operation}"
    if is_in_path:
        api_version = backend.api_version or call.api_version
        return operation_path(call.base, backend.upstream_deployment, operation, api_version)
    return operation_path(call.base, None, operation, call.api_version)


def _typed(headers: Sequence[tuple[bytes, bytes]], content_type: bytes) -> list[tuple[bytes, bytes]]:
    """Return the headers with another content type."""
    kept = [header for header in headers if header[0] != b"content-type"]
    return [*kept, (b"content-type", content_type)]


def _check_coding(response: UpstreamResponse) -> None:
    """Raise `BackendBroken` for a compressed stream: nothing of it could be metered."""
    if any(name == b"content-encoding" and text.lower() != b"identity" for name, text in response.headers):
        response.close()
        raise BackendBroken("The backend compressed its answer although it was asked not to.")


def _is_json(response: UpstreamResponse) -> bool:
    """Tell whether an answer is one JSON document although a stream was asked for."""
    return any(name == b"content-type" and text.startswith(b"application/json") for name, text in response.headers)
