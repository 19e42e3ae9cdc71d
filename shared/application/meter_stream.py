"""Pass a streamed answer on as it comes, and book it before its last event is released."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable

from shared.application.background import Background
from shared.application.metered_attempt import MeteredAttempt
from shared.application.ports import EventReader, InferenceFormat, UpstreamResponse
from shared.domain.errors import BackendBroken, BackendTimeout, GatewayError, LedgerUnavailable
from shared.domain.tenancy import DisconnectPolicy

_PACK_BYTES = 262_144


class MeteredStream:
    """One stream. Either `pass_on` runs to its end, or `abandon` is called when the caller has gone."""

    def __init__(
        self,
        attempt: MeteredAttempt,
        response: UpstreamResponse,
        wire: InferenceFormat,
        reader: EventReader,
        background: Background,
        on_disconnect: DisconnectPolicy,
        drain_seconds: float,
    ) -> None:
        self._attempt = attempt
        self._response = response
        self._wire = wire
        self._reader = reader
        self._background = background
        self._on_disconnect = on_disconnect
        self._drain_seconds = drain_seconds
        self._delivered = _DeliveredText(attempt, reader)
        self._is_booked = False

    async def pass_on(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Give complete events to `send` as they come. An error ends them as an event of its own."""
        feed, keep = self._reader.feed, self._delivered.keep

        def take(chunk: bytes) -> Awaitable[None] | None:
            if released := feed(chunk):
                keep(released)
                return send(released)
            return None

        try:
            await self._response.pass_on(take)
            await self._complete()
        except (BackendBroken, BackendTimeout) as error:
            await send(await self._broken(error))
        except LedgerUnavailable as error:
            await send(self._wire.error_event("ledger_unavailable", str(error)))
        else:
            if ending := self._reader.ending():
                await send(ending)

    def abandon(self) -> None:
        """The caller has gone: book what is consumed all the same, in the background."""
        if not self._is_booked:
            self._background.start(self._finish_without_caller())

    async def _complete(self) -> None:
        if not self._reader.ended and self._reader.usage is None:
            raise BackendBroken("The backend ended the stream early.")
        await self._book("")

    async def _broken(self, error: GatewayError) -> bytes:
        code = "backend_timeout" if isinstance(error, BackendTimeout) else "backend_error"
        try:
            await self._book(code)
        except LedgerUnavailable as unavailable:
            return self._wire.error_event("ledger_unavailable", str(unavailable))
        return self._wire.error_event(code, str(error))

    async def _finish_without_caller(self) -> None:
        if self._on_disconnect is DisconnectPolicy.DRAIN:
            try:
                async with asyncio.timeout(self._drain_seconds):
                    await self._response.pass_on(self._drop)
            except (BackendBroken, BackendTimeout, TimeoutError):
                pass  # what upstream did not state is estimated
        try:
            await self._book("client_disconnected")
        except LedgerUnavailable:
            return  # the ledger keeps the settlement and retries it

    def _drop(self, chunk: bytes) -> None:
        self._reader.feed(chunk)

    async def _book(self, error_code: str) -> None:
        """Settle once: with upstream's usage if it was stated, else with the input and what was delivered."""
        self._is_booked = True
        self._response.close()
        reader = self._reader
        if reader.usage is not None:
            await self._attempt.charge(
                reader.usage, status=200, error_code=error_code, content_filter=reader.content_filter
            )
        else:
            await self._attempt.charge_estimate(
                self._delivered.tokens(), status=200, error_code=error_code, content_filter=reader.content_filter
            )


class _DeliveredText:
    """Keeps what was delivered for the rare stream without a stated usage, and counts it only then.

    Long streams are packed as they grow: events repeat each other so much that little is left of them.
    """

    def __init__(self, attempt: MeteredAttempt, reader: EventReader) -> None:
        self._attempt = attempt
        self._reader = reader
        self._recent = bytearray()
        self._packed: list[bytes] = []

    def keep(self, events: bytes) -> None:
        self._recent += events
        if len(self._recent) > _PACK_BYTES:
            self._packed.append(zlib.compress(self._recent, level=1))
            self._recent.clear()

    def tokens(self) -> int:
        parts = [*map(zlib.decompress, self._packed), bytes(self._recent)]
        return sum(self._attempt.count(self._reader.texts(part)) for part in parts)
