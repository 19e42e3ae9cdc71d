"""Pass a streamed answer on as it comes, and book it before its last event is released."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress

from shared.application.background import Background
from shared.application.inference.metered_attempt import MeteredAttempt
from shared.application.ports.formats import InferenceFormat
from shared.application.ports.inference import UpstreamResponse
from shared.application.routing.backend_slot import BackendSlot
from shared.domain.content_filter import ContentFilterPolicy, findings_text, refused_categories
from shared.domain.errors import BackendBroken, BackendTimeout, ContentFiltered, GatewayError, StorageUnavailable
from shared.domain.inference.parsed_body import EventReader
from shared.domain.tenancy.tenant import DisconnectPolicy, Tenant

_PACK_BYTES = 262_144


class Drains:
    """How long, and how many at once, streams are read on for their usage after their callers have gone."""

    def __init__(self, seconds: float, at_most: int) -> None:
        self.seconds = seconds
        self._free = at_most

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Raises `TimeoutError` when its time is over, or at once if too many others are under way."""
        if not self._free:
            raise TimeoutError
        self._free -= 1
        try:
            async with asyncio.timeout(self.seconds):
                yield
        finally:
            self._free += 1


class StreamCut(Exception):
    """What is streamed has no words for an error: the caller learns of it by a connection that breaks."""


class MeteredStream:
    """One stream. Either `forward` runs to its end, or `abandon` is called when the caller has gone."""

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
    ) -> None:
        self._attempt = attempt
        self._response = response
        self._format = format_
        self._reader = reader
        self._background = background
        self._tenant = tenant
        self._drains = drains
        self._slot = slot
        self._delivered = _DeliveredText()
        self._is_booked = False

    @property
    def is_text(self) -> bool:
        """Whether it is made of events, between which comments may be sent."""
        return self._reader.is_text

    async def forward(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Give complete events to `send` as they come. An error ends them as an event of its own.

        Raises `StreamCut` where it can't.
        """
        try:
            await self._response.forward(self._taker(send))
            await self._complete()
        except (BackendBroken, BackendTimeout) as error:
            await self._tell(send, await self._broken(error))
        except ContentFiltered as error:
            self._background.start(self._finish_without_caller("content_filter"))
            await self._tell(send, error)
        except StorageUnavailable as error:
            await self._tell(send, error)
        else:
            if ending := self._annotation() + self._reader.ending():
                await send(ending)

    def abandon(self) -> None:
        """The caller has gone: book what is consumed all the same, in the background."""
        if not self._is_booked:
            self._background.start(self._finish_without_caller("client_disconnected"))

    def _taker(self, send: Callable[[bytes], Awaitable[None]]) -> Callable[[bytes], Awaitable[None] | None]:
        feed, keep = self._reader.feed, self._delivered.keep

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

    def _refuse_findings(self) -> None:
        if self._reader.findings:
            refused = refused_categories(self._reader.findings, self._tenant.content_filter_threshold)
            if refused:
                raise ContentFiltered(refused)

    async def _complete(self) -> None:
        if not self._reader.ended and self._reader.usage is None:
            raise BackendBroken("The backend ended the stream early.")
        self._slot.completed()
        await self._book("")

    async def _broken(self, error: GatewayError) -> GatewayError:
        """Book what was delivered; the error to tell."""
        self._slot.failed(str(error))
        try:
            await self._book(_code_of(error))
        except StorageUnavailable as unavailable:
            return unavailable
        return error

    async def _tell(self, send: Callable[[bytes], Awaitable[None]], error: GatewayError) -> None:
        if not self._reader.is_text:
            raise StreamCut
        await send(self._format.error_event(_code_of(error), str(error)))

    async def _finish_without_caller(self, error_code: str) -> None:
        self._is_booked = True
        if self._attempt.is_background and self._reader.response_id:
            self._close()
            with suppress(StorageUnavailable):  # then the reservation expires by the tenant's policy
                await self._attempt.defer(self._reader.response_id)
            return
        if self._tenant.on_disconnect is DisconnectPolicy.DRAIN:
            try:
                async with self._drains.one():
                    await self._response.forward(self._drop)
            except (BackendBroken, BackendTimeout, TimeoutError):
                pass  # what upstream did not state is estimated
        try:
            await self._book(error_code)
        except StorageUnavailable:
            return  # the ledger keeps the settlement and retries it

    def _drop(self, chunk: bytes) -> None:
        self._reader.feed(chunk)

    def _annotation(self) -> bytes:
        """The findings as a comment, for a tenant that wants them named."""
        if self._tenant.content_filter_policy is ContentFilterPolicy.ANNOTATE and self._reader.findings:
            return f": content-filter {findings_text(self._reader.findings)}\n\n".encode()
        return b""

    def _close(self) -> None:
        self._response.close()
        self._slot.release()

    async def _book(self, error_code: str) -> None:
        """Settle once: with upstream's usage if it was stated, else with the input and what was delivered."""
        self._is_booked = True
        self._close()
        reader = self._reader
        await self._attempt.charge(
            reader.usage,
            units=reader.units,
            texts=[] if reader.usage else (text for part in self._delivered.parts() for text in reader.texts(part)),
            error_code=error_code,
            findings=reader.findings,
            service_tier=reader.service_tier,
            response_id=reader.response_id,
        )


def _code_of(error: GatewayError) -> str:
    match error:
        case BackendTimeout():
            return "backend_timeout"
        case BackendBroken():
            return "backend_error"
        case ContentFiltered():
            return "content_filter"
    return "ledger_unavailable"


class _DeliveredText:
    """Keeps what was delivered for the rare stream without a stated usage.

    Long streams are packed as they grow: events repeat each other so much that little is left of them.
    """

    def __init__(self) -> None:
        self._recent: list[bytes] = []
        self._recent_bytes = 0
        self._packed: list[bytes] = []

    def keep(self, events: bytes) -> None:
        self._recent.append(events)
        self._recent_bytes += len(events)
        if self._recent_bytes > _PACK_BYTES:
            self._packed.append(zlib.compress(b"".join(self._recent), level=1))
            self._recent.clear()
            self._recent_bytes = 0

    def parts(self) -> Iterator[bytes]:
        yield from map(zlib.decompress, self._packed)
        yield b"".join(self._recent)
