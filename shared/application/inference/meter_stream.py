"""Forward a streamed answer as it arrives, and book it before its last event is sent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress

from shared.application.background import Background
from shared.application.inference.metered_attempt import MeteredAttempt
from shared.application.inference.received_text import ReceivedText
from shared.application.ports.formats import InferenceFormat
from shared.application.ports.inference import UpstreamResponse
from shared.application.routing.backend_slot import BackendSlot
from shared.application.structured_log import BACKEND, ERROR, MESSAGE, REQUEST, TENANT, log_event
from shared.application.telemetry.request_trace import RequestTrace
from shared.domain.content_filter import ContentFilterPolicy, findings_text, refused_categories
from shared.domain.errors import (
    AnswerTooLong,
    BackendBroken,
    BackendTimeout,
    ContentFiltered,
    GatewayError,
    StorageUnavailable,
)
from shared.domain.inference.parsed_body import EventReader
from shared.domain.tenancy.tenant import DisconnectPolicy, Tenant


class Drains:
    """Limits for draining streams: reading them on for their usage after their clients have disconnected."""

    def __init__(self, seconds: float, max_drains: int) -> None:
        """`seconds` limits each drain, and `max_drains` the number of drains at the same time."""
        self._seconds = seconds
        self._free = max_drains

    @asynccontextmanager
    async def drain(self) -> AsyncIterator[None]:
        """Limit the draining of one stream.

        Raises `TimeoutError` when its time is over, and at once if too many others are under way.
        """
        if not self._free:
            raise TimeoutError
        self._free -= 1
        try:
            async with asyncio.timeout(self._seconds):
                yield
        finally:
            self._free += 1


class StreamCut(Exception):
    """The stream cannot report an error, because it is sound. Breaking the connection tells the client."""


class MeteredStream:
    """One streamed answer, which is booked exactly once.

    `forward` runs to its end, or `abandon` is called because the client has gone or does not read.
    """

    def __init__(
        self,
        attempt: MeteredAttempt,
        response: UpstreamResponse,
        format_: InferenceFormat,
        reader: EventReader,
        background: Background,
        tenant: Tenant,
        drains: Drains,
        slot: BackendSlot,
        trace: RequestTrace,
    ) -> None:
        self._trace = trace
        self._attempt = attempt
        self._response = response
        self._format = format_
        self._reader = reader
        self._background = background
        self._tenant = tenant
        self._drains = drains
        self._slot = slot
        self._received = ReceivedText()
        self._is_booked = False
        self._has_asked_to_defer = self._is_deferred = False

    @property
    def is_text(self) -> bool:
        """The stream consists of server-sent events, between which comments may be sent."""
        return self._reader.is_text

    async def forward(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Forward the stream to `send`, only complete events, and book it before the events that end it.

        An error ends the stream as an event of its own. Raises `StreamCut` if the stream cannot hold one.
        """
        try:
            await self._response.forward(self._chunk_handler(self._deferring(send)))
            await self._complete()
        except (BackendBroken, BackendTimeout) as error:
            await self._send_error(send, await self._book_broken(error))
        except ContentFiltered as error:
            self._background.start(self._finish_without_caller("content_filter"))
            await self._send_error(send, error)
        except StorageUnavailable as error:
            await self._send_error(send, error)
        else:
            if ending := self._annotation() + self._reader.ending():
                await send(ending)

    def abandon(self, error_code: str) -> None:
        """Book the stream in the background, because its client has gone or does not read. Idempotent."""
        if not self._is_booked:
            self._background.start(self._finish_without_caller(error_code))

    def _chunk_handler(self, send: Callable[[bytes], Awaitable[None]]) -> Callable[[bytes], Awaitable[None] | None]:
        """Return the function that each chunk passes through. It is chosen once, because it runs for each chunk."""
        feed, keep = self._reader.feed, self._received.keep

        def take(chunk: bytes) -> Awaitable[None] | None:
            if released := feed(chunk):
                keep(released)
                return send(released)
            return None

        def take_if_allowed(chunk: bytes) -> Awaitable[None] | None:
            released = feed(chunk)
            self._refuse_findings()
            keep(released)
            return send(released) if released else None

        def take_sound(chunk: bytes) -> Awaitable[None] | None:
            released = feed(chunk)
            return send(released) if released else None

        if not self._reader.is_text:
            return take_sound
        return take_if_allowed if self._tenant.content_filter_policy is ContentFilterPolicy.BLOCK else take

    def _deferring(self, send: Callable[[bytes], Awaitable[None]]) -> Callable[[bytes], Awaitable[None]]:
        """Return `send`, or for responses one that stores the id of a background response before it is sent."""

        def send_response(events: bytes) -> Awaitable[None]:
            if not self._has_asked_to_defer and self._goes_on:
                return self._defer_and_send(events, send)
            return send(events)

        return send if self._attempt.response_owner is None else send_response

    @property
    def _goes_on(self) -> bool:
        """Upstream works on the response, whatever becomes of this stream, and can be asked for it."""
        return bool(self._reader.response_id) and (self._attempt.is_background or self._reader.is_background)

    async def _defer_and_send(self, events: bytes, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Defer the settlement, and send then. If this process dies afterwards, the timer finds the response."""
        try:
            await self._defer()
        except StorageUnavailable:
            self._is_booked = True
            self._close()
            self._trace.traces.stream_ended(self._trace, self._attempt.trace)
            raise
        await send(events)

    async def _defer(self) -> None:
        self._has_asked_to_defer = True
        self._is_deferred = await self._attempt.defer(self._reader.response_id)

    def _refuse_findings(self) -> None:
        if self._reader.findings:
            refused = refused_categories(self._reader.findings, self._tenant.content_filter_threshold)
            if refused:
                raise ContentFiltered(refused)

    async def _complete(self) -> None:
        """Book a stream that came to its end. One without a mark of its end and without a usage was cut off."""
        self._reader.end()
        if not self._reader.ended and self._reader.usage is None:
            raise BackendBroken("The backend ended the stream early.")
        self._slot.completed()
        await self._book("")

    async def _book_broken(self, error: GatewayError) -> GatewayError:
        """Book the delivered part of a stream that broke. Returns the error to report to the client."""
        if not isinstance(error, AnswerTooLong):  # callers who read slowly must not open the breaker
            self._slot.failed(str(error))
        try:
            await self._book(_code_of(error))
        except StorageUnavailable as unavailable:
            return unavailable
        return error

    async def _send_error(self, send: Callable[[bytes], Awaitable[None]], error: GatewayError) -> None:
        self._log(error)
        if not self._reader.is_text:
            raise StreamCut
        await send(self._format.error_event(_code_of(error), str(error)))

    def _log(self, error: GatewayError) -> None:
        reservation = self._attempt.reservation
        fields = {
            REQUEST: reservation.attempt.request_id,
            TENANT: reservation.lane.tenant_id,
            BACKEND: reservation.attempt.backend,
            ERROR: _code_of(error),
            MESSAGE: str(error),
        }
        log_event(logging.WARNING, "gateway.stream.failed", fields)

    async def _finish_without_caller(self, error_code: str) -> None:
        """Drain the stream if the tenant's policy says so, and book it. A background response is left to the timer."""
        self._is_booked = True
        if self._tenant.on_disconnect is DisconnectPolicy.DRAIN and not self._goes_on:
            try:
                async with self._drains.drain():
                    await self._response.forward(self._drop)
                self._reader.end()
            except (BackendBroken, BackendTimeout, TimeoutError):
                pass  # the usage that upstream did not state is estimated
        try:
            await self._book(error_code)
        except StorageUnavailable:
            return  # the ledger keeps the settlement and retries it

    def _drop(self, chunk: bytes) -> None:
        received = self._reader.feed(chunk)
        if self._reader.is_text:
            self._received.keep(received)

    def _annotation(self) -> bytes:
        """Return the findings as a comment of the stream, for a tenant whose policy is `annotate`."""
        if self._tenant.content_filter_policy is ContentFilterPolicy.ANNOTATE and self._reader.findings:
            return f": content-filter {findings_text(self._reader.findings)}\n\n".encode()
        return b""

    def _close(self) -> None:
        self._response.close()
        self._slot.release()

    async def _book(self, error_code: str) -> None:
        """Settle the attempt: with the usage that upstream stated, else with the input and the text so far.

        A background response without a stated usage is left to the timer, which asks upstream for it. Any other
        that was cut off is not remembered: upstream may store more of it than was charged.
        """
        self._is_booked = True
        self._close()
        try:
            await self._settle(error_code)
        finally:
            self._trace.traces.stream_ended(self._trace, self._attempt.trace)

    async def _settle(self, error_code: str) -> None:
        reader = self._reader
        if reader.usage is None and self._goes_on:
            if not self._has_asked_to_defer:
                await self._defer()
            return
        await self._attempt.charge(
            reader.usage,
            at_least=reader.at_least,
            units=reader.units,
            texts=self._texts(),
            error_code=error_code,
            findings=reader.findings,
            service_tier=reader.service_tier,
            response_id=reader.response_id if reader.usage is not None or not error_code else "",
        )
        if self._is_deferred:
            with suppress(StorageUnavailable):  # the timer asks once more, and books nothing more
                await self._attempt.resolve(reader.response_id)

    def _texts(self) -> Iterator[str]:
        """Yield the generated text. It is read only where it must be counted."""
        yield from self._reader.texts(b"".join((*self._received.parts(), self._reader.ending())))


def _code_of(error: GatewayError) -> str:
    match error:
        case BackendTimeout():
            return "backend_timeout"
        case BackendBroken():
            return "backend_error"
        case ContentFiltered():
            return "content_filter"
    return "ledger_unavailable"
