"""Serve the responses that upstream stores for a tenant: read, cancel, delete."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from shared.application.cached_value import Cached
from shared.application.inference.meter_stream import StreamCut
from shared.application.ports.inference import ResponseDirectory, Upstream, UpstreamResponse
from shared.application.tenancy.authenticate import TenantPrincipal
from shared.domain.errors import (
    BackendBroken,
    BackendTimeout,
    OperationNotFound,
    ResidencyViolation,
    ResponseNotFound,
    TenantSuspended,
)
from shared.domain.routing.answer import classify
from shared.domain.routing.catalog import Backend, Catalog
from shared.domain.routing.paths import response_path
from shared.domain.tenancy.tenant import TenantState
from shared.domain.values import record

_EVENT_STREAM = b"text/event-stream"


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
    """A stored response that upstream streams again. It was booked when it was created."""

    def __init__(self, response: UpstreamResponse) -> None:
        self._response = response

    @property
    def is_text(self) -> bool:
        return True

    async def forward(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        try:
            await self._response.forward(send)
        except (BackendBroken, BackendTimeout) as error:
            raise StreamCut from error

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

    def __init__(self, directory: ResponseDirectory, upstream: Upstream, catalog: Cached[Catalog]) -> None:
        self._directory = directory
        self._upstream = upstream
        self._catalog = catalog

    async def __call__(self, caller: TenantPrincipal, call: ResponseCall) -> ForwardedResponse:
        """Forward one request to the backend that stores the response.

        Raises `TenantSuspended`, `ResponseNotFound`, `ResidencyViolation`, and the errors of a backend.
        """
        tenant = caller.tenant
        if tenant.state is not TenantState.ACTIVE:
            raise TenantSuspended
        stored = await self._directory.get(tenant.tenant_id, call.response_id)
        backend = (await self._catalog.get()).backends.get(stored.backend_id) if stored else None
        if backend is None:
            raise ResponseNotFound
        if backend.placement.objection(tenant.residency):
            raise ResidencyViolation("The response lies where this tenant's data may no longer be processed.")
        path = response_path(backend, call.response_id, call.base) + call.part
        if call.query:
            path = f"{path}?{call.query}"
        response = await self._upstream.send(backend, call.method, path, b"", call.headers)
        if _is_event_stream(response):
            return _forwarded(response, backend, stream=ForwardedStream(response))
        body = await response.read()
        error = classify(response, body).error
        if error is not None and not isinstance(error, OperationNotFound):
            raise error
        if call.method == "DELETE" and response.status == 200:
            await self._directory.remove(tenant.tenant_id, call.response_id)
        return _forwarded(response, backend, body)


def _forwarded(
    response: UpstreamResponse, backend: Backend, body: bytes = b"", stream: ForwardedStream | None = None
) -> ForwardedResponse:
    return ForwardedResponse(
        status=response.status, headers=response.headers, backend=backend, body=body, stream=stream
    )


def _is_event_stream(response: UpstreamResponse) -> bool:
    return any(name == b"content-type" and text.startswith(_EVENT_STREAM) for name, text in response.headers)
