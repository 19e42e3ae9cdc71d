"""Forwards inference over one pooled aiohttp session, raw bytes both ways (ADR 3)."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import aiohttp
from yarl import URL

from shared.adapters.credentials import TokenProvider
from shared.domain.errors import BackendBroken, BackendTimeout, BackendUnavailable, StorageUnavailable
from shared.domain.routing import Backend, BackendAuth

_NOT_WAITING = math.inf
_NOT_PROCESSED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)


@dataclass(frozen=True, slots=True)
class UpstreamTimeouts:
    """Bounds in seconds, each named in the error it causes."""

    connect: float
    head: float
    idle: float
    total: float


class AiohttpUpstream:
    """Implements `Upstream`."""

    def __init__(
        self, session: aiohttp.ClientSession, tokens: TokenProvider, api_key: str, timeouts: UpstreamTimeouts
    ) -> None:
        self._session = session
        self._tokens = tokens
        self._api_key = api_key
        self._timeouts = timeouts
        self._client_timeout = aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect)

    async def post(self, backend: Backend, path: str, body: bytes, headers: Mapping[str, str]) -> AiohttpResponse:
        url = URL(backend.endpoint.rstrip("/") + path, encoded=True)
        authorized = {**headers, **await self._authorization(backend)}
        try:
            async with asyncio.timeout(self._timeouts.head):
                response = await self._session.post(
                    url, data=body, headers=authorized, timeout=self._client_timeout, allow_redirects=False
                )
        except _NOT_PROCESSED as error:
            raise BackendUnavailable("No backend of the deployment could be reached.") from error
        except TimeoutError as error:
            raise BackendTimeout(
                f"The backend did not begin to answer within the head timeout of {self._timeouts.head:g} s."
            ) from error
        except aiohttp.ClientError as error:
            raise BackendBroken("The connection to the backend broke before it answered.") from error
        return AiohttpResponse(response, self._timeouts)

    async def _authorization(self, backend: Backend) -> dict[str, str]:
        if backend.auth is BackendAuth.API_KEY:
            return {"api-key": self._api_key}
        try:
            return {"Authorization": f"Bearer {await self._tokens.token(backend.token_scope)}"}
        except StorageUnavailable as error:
            raise BackendUnavailable("The gateway's own identity could not be obtained.") from error


class AiohttpResponse:
    """Implements `UpstreamResponse`.

    Both timeouts of the body cost a chunk next to nothing: the total is looked at when a chunk is read, and silence by
    one timer that looks back when it fires, instead of one that is set anew for each chunk.
    """

    def __init__(self, response: aiohttp.ClientResponse, timeouts: UpstreamTimeouts) -> None:
        self.status = response.status
        self.headers: Sequence[tuple[bytes, bytes]] = response.raw_headers
        self._response = response
        self._content = response.content
        self._timeouts = timeouts
        self._deadline = time.monotonic() + timeouts.total
        self._waiting_since = _NOT_WAITING
        self._timer: asyncio.TimerHandle | None = None

    async def read(self) -> bytes:
        chunks: list[bytes] = []
        await self.pass_on(chunks.append)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def pass_on(self, take: Callable[[bytes], Awaitable[None] | None]) -> None:
        readany, monotonic, deadline = self._content.readany, time.monotonic, self._deadline
        if self._timer is None:
            self._watch(self._timeouts.idle)
        while True:
            self._waiting_since = now = monotonic()
            if now > deadline:
                self.close()
                raise BackendTimeout(f"The backend exceeded the total timeout of {self._timeouts.total:g} s.")
            try:
                chunk = await readany()
            except TimeoutError as error:
                self.close()
                raise BackendTimeout(
                    f"The backend fell silent for the idle timeout of {self._timeouts.idle:g} s."
                ) from error
            except aiohttp.ClientError as error:
                self.close()
                raise BackendBroken("The connection to the backend broke while it answered.") from error
            self._waiting_since = _NOT_WAITING
            if not chunk:
                break
            if (taking := take(chunk)) is not None:
                await taking
        self.close()

    def close(self) -> None:
        """Keep the connection if the body was read to its end, else drop it."""
        if self._timer is not None:
            self._timer.cancel()
        if self._content.is_eof():
            self._response.release()
        else:
            self._response.close()

    def _watch(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look_for_silence)

    def _look_for_silence(self) -> None:
        silence = time.monotonic() - self._waiting_since
        if silence >= self._timeouts.idle:
            self._content.set_exception(TimeoutError())
        else:
            self._watch(self._timeouts.idle - max(0.0, silence))
