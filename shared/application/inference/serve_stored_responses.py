"""Serve the responses that upstream stores for a tenant: read, cancel, delete."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from shared.application.cached_value import Cached
from shared.application.inference.meter_stream import StreamCut
from shared.application.inference.settle_background_responses import SettleResponses
from shared.application.ports.inference import ResponseDirectory, Upstream, UpstreamResponse
from shared.application.tenancy.principals import TenantPrincipal
from shared.domain.errors import (
    BackendBroken,
    BackendTimeout,
    GatewayError,
    OperationNotFound,
    ResidencyViolation,
    ResponseNotFound,
    ResponseRunning,
    TenantSuspended,
)
from shared.domain.ledger.entries import Reservation
from shared.domain.routing.answer import Meaning, classify
from shared.domain.routing.catalog import Backend, Catalog
from shared.domain.routing.paths import response_path
from shared.domain.tenancy.tenant import TenantState
from shared.domain.values import record

_EVENT_STREAM = b"text/event-stream"
_SHOWING_THE_END = ("", "/cancel")
"""The parts of a response whose answers are the response itself."""


@record
class ResponseCall:
    """One request about a stored response."""

    method: str
    base: str
    """`/openai/v1`, or `/openai` in the dated API."""
    response_id: str
    part: str
    """The path after the response: empty, `/cancel` or `/input_items`."""
    query: str
    """The encoded query to forward."""
    headers: Mapping[str, str]


class ForwardedStream:
    """A stored response that upstream streams again. It is booked already, or at the end of this stream."""

    def __init__(self, response: UpstreamResponse, settle: Callable[[], Awaitable[object]]) -> None:
        self._response = response
        self._settle = settle

    @property
    def is_text(self) -> bool:
        return True

    async def forward(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        try:
            await self._response.forward(send)
        except (BackendBroken, BackendTimeout) as error:
            raise StreamCut from error
        with suppress(GatewayError):  # the timer asks again
            await self._settle()

    def abandon(self, error_code: str) -> None:  # noqa: ARG002 - it was booked when it was created
        self._response.close()


@record
class ForwardedResponse:
    """Upstream's own answer, unchanged."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    backend: Backend
    body: bytes = b""
    stream: ForwardedStream | None = None


class ServeResponses:
    """The use case of the routes below `/responses/{response}`. Another tenant's response does not exist."""

    def __init__(
        self, directory: ResponseDirectory, upstream: Upstream, catalog: Cached[Catalog], settle: SettleResponses
    ) -> None:
        self._directory = directory
        self._upstream = upstream
        self._catalog = catalog
        self._settle = settle

    async def __call__(self, caller: TenantPrincipal, call: ResponseCall) -> ForwardedResponse:
        """Forward one request to the backend that stores the response.

        A response that is not settled yet is settled by any answer that shows its end, and before it is deleted.
        Raises `TenantSuspended`, `ResponseNotFound`, `ResidencyViolation`, `ResponseRunning`, `StorageUnavailable`, and
        the errors of a backend.
        """
        tenant_id = caller.tenant.tenant_id
        backend = await self._backend(caller, call)
        if call.method == "DELETE" and not await self._settle_now(tenant_id, call.response_id):
            raise ResponseRunning
        response = await self._upstream.send(backend, call.method, _path(backend, call), b"", call.headers)
        if _is_event_stream(response):
            settle = partial(self._settle_now, tenant_id, call.response_id)
            return _forwarded(response, backend, stream=ForwardedStream(response, settle))
        body = await response.read()
        answer = classify(response, body)
        if answer.error is not None and not isinstance(answer.error, OperationNotFound):
            raise answer.error
        if answer.meaning is Meaning.COMPLETED:
            await self._take_note(tenant_id, call, body)
        return _forwarded(response, backend, body)

    async def _backend(self, caller: TenantPrincipal, call: ResponseCall) -> Backend:
        """Return the backend that stores the response, if the caller may use it."""
        tenant = caller.tenant
        if tenant.state is not TenantState.ACTIVE:
            raise TenantSuspended
        stored = await self._directory.get(tenant.tenant_id, call.response_id)
        if stored is None or not caller.covers(stored.deployment):
            raise ResponseNotFound
        backend = (await self._catalog.get()).backend(stored.backend_id)
        if backend is None:
            raise ResponseNotFound
        if backend.objection(tenant.residency):
            raise ResidencyViolation("The response lies where this tenant's data may no longer be processed.")
        return backend

    async def _take_note(self, tenant_id: str, call: ResponseCall, body: bytes) -> None:
        """Forget a response that was deleted, and settle one whose end its owner is about to see."""
        if call.method == "DELETE":
            await self._directory.remove(tenant_id, call.response_id)
        elif call.part in _SHOWING_THE_END:
            reservation = await self._unsettled(tenant_id, call.response_id)
            if reservation is not None:
                await self._settle.settle(call.response_id, reservation, body)

    async def _settle_now(self, tenant_id: str, response_id: str) -> bool:
        """Ask upstream for a response that is not settled, and settle it. Returns `False` if it has not ended."""
        reservation = await self._unsettled(tenant_id, response_id)
        return reservation is None or await self._settle.ask(response_id, reservation)

    async def _unsettled(self, tenant_id: str, response_id: str) -> Reservation | None:
        reservation = await self._directory.reservation_of(response_id)
        return reservation if reservation is not None and reservation.lane.tenant_id == tenant_id else None


def _path(backend: Backend, call: ResponseCall) -> str:
    path = response_path(backend, call.response_id, call.base) + call.part
    return f"{path}?{call.query}" if call.query else path


def _forwarded(
    response: UpstreamResponse, backend: Backend, body: bytes = b"", stream: ForwardedStream | None = None
) -> ForwardedResponse:
    return ForwardedResponse(
        status=response.status, headers=response.headers, backend=backend, body=body, stream=stream
    )


def _is_event_stream(response: UpstreamResponse) -> bool:
    return any(name == b"content-type" and text.startswith(_EVENT_STREAM) for name, text in response.headers)
