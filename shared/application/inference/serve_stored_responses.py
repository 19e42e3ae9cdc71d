"""Serve what upstream keeps of a tenant's own responses: to read, to cancel, to delete."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from shared.application.cached import Cached
from shared.application.inference.book_answer import refusal_of
from shared.application.inference.meter_stream import StreamCut
from shared.application.ports.inference import ResponseDirectory, Upstream, UpstreamResponse
from shared.application.tenancy.authenticate import TenantPrincipal
from shared.domain.errors import BackendBroken, BackendTimeout, ResidencyViolation, ResponseNotFound, TenantSuspended
from shared.domain.routing.catalog import Backend, Catalog
from shared.domain.routing.paths import response_path
from shared.domain.tenancy.tenant import TenantState
from shared.domain.values import value

_EVENTS = b"text/event-stream"


@value
class ResponseCall:
    """What a caller wants of a response. `base` is `/openai/v1` or `/openai`; `query` is encoded."""

    method: str
    base: str
    response_id: str
    part: str
    query: str
    headers: Mapping[str, str]


class PassedStream:
    """An answer that was booked before, streamed again."""

    def __init__(self, response: UpstreamResponse) -> None:
        self._response = response

    @property
    def is_text(self) -> bool:
        return True

    async def pass_on(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        try:
            await self._response.pass_on(send)
        except (BackendBroken, BackendTimeout) as error:
            raise StreamCut from error

    def abandon(self) -> None:
        self._response.close()


@value
class PassedOn:
    """Upstream's own answer."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    backend: Backend
    body: bytes = b""
    stream: PassedStream | None = None


class ServeResponses:
    """The use case behind the routes of a response. Whose it is not, it does not exist for."""

    def __init__(self, directory: ResponseDirectory, upstream: Upstream, catalog: Cached[Catalog]) -> None:
        self._directory = directory
        self._upstream = upstream
        self._catalog = catalog

    async def __call__(self, caller: TenantPrincipal, call: ResponseCall) -> PassedOn:
        """Raises `ResponseNotFound`, `ResidencyViolation`, and what a backend's failure raises."""
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
        response = await self._upstream.send(
            backend, call.method, f"{path}?{call.query}" if call.query else path, b"", call.headers
        )
        headers = response.headers
        if any(name == b"content-type" and text.startswith(_EVENTS) for name, text in headers):
            return PassedOn(response.status, headers, backend, stream=PassedStream(response))
        body = await response.read()
        refusal = refusal_of(response, body)
        if refusal is not None:
            raise refusal
        if call.method == "DELETE" and response.status == 200:
            await self._directory.remove(tenant.tenant_id, call.response_id)
        return PassedOn(response.status, headers, backend, body)
