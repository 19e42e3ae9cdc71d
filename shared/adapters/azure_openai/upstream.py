"""Forwards inference over one pooled aiohttp session, raw bytes both ways (ADR 3)."""

from __future__ import annotations

import asyncio
import io
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import aiohttp
from yarl import URL

from shared.adapters.azure_openai.watchdog import NOT_WAITING, Watchdog
from shared.adapters.identity.credentials import TokenProvider
from shared.domain.errors import BackendBroken, BackendTimeout, BackendUnavailable, StorageUnavailable
from shared.domain.routing.catalog import Backend, BackendApi, BackendAuth

_LARGE_BODY_BYTES = 1_048_576
_NOT_PROCESSED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)


@dataclass(frozen=True, slots=True, kw_only=True)
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
        self._key = {"api-key": api_key}
        self._bearer_key = {"Authorization": f"Bearer {api_key}"}
        self._timeouts = timeouts
        self._client_timeout = aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect)
        self._watchdog = Watchdog(min(timeouts.head, timeouts.idle))
        self._loop = asyncio.get_running_loop()

    async def send(
        self,
        backend: Backend,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        head_seconds: float | None = None,
    ) -> AiohttpResponse:
        url = URL(backend.endpoint.rstrip("/") + path, encoded=True)
        authorized = {**headers, **backend.headers}
        if backend.auth is BackendAuth.API_KEY:
            authorized |= self._key if backend.api is BackendApi.AZURE else self._bearer_key
        else:
            authorized["Authorization"] = f"Bearer {await self._token(backend)}"
        allowed = self._timeouts.head if head_seconds is None else min(head_seconds, self._timeouts.head)
        head = _Head(allowed, self._loop)
        self._watchdog.watch(head)
        try:
            response = await self._session.request(
                method,
                url,
                data=_payload(body),
                headers=authorized,
                timeout=self._client_timeout,
                allow_redirects=False,
            )
        except asyncio.CancelledError:
            if head.is_late():
                raise BackendTimeout(
                    f"The backend did not begin to answer within the head timeout of {allowed:g} s."
                ) from None
            raise
        except _NOT_PROCESSED as error:
            raise BackendUnavailable("No backend of the deployment could be reached.") from error
        except aiohttp.ClientError as error:
            raise BackendBroken("The connection to the backend broke before it answered.") from error
        finally:
            self._watchdog.unwatch(head)
        return AiohttpResponse(response, self._timeouts, self._watchdog)

    async def _token(self, backend: Backend) -> str:
        try:
            return await self._tokens.token(backend.token_scope, backend.authority)
        except StorageUnavailable as error:
            raise BackendUnavailable("The gateway's own identity could not be obtained.") from error


def _payload(body: bytes) -> bytes | io.BytesIO:
    """A large body is written bit by bit, so that the event loop serves others meanwhile."""
    return body if len(body) <= _LARGE_BODY_BYTES else io.BytesIO(body)


class _Head:
    """The wait for an answer's head. Giving it up cancels the task that waits, as `asyncio.timeout` does."""

    __slots__ = ("_cancellations", "_has_given_up", "_task", "allowed", "since")

    def __init__(self, seconds: float, loop: asyncio.AbstractEventLoop) -> None:
        task = asyncio.current_task(loop)  # asking for the loop is a system call
        assert task is not None
        self.since = time.monotonic()
        self.allowed = seconds
        self._task = task
        self._cancellations = task.cancelling()
        self._has_given_up = False

    def give_up(self) -> None:
        self._has_given_up = True
        self._task.cancel()

    def is_late(self) -> bool:
        """Whether the cancellation that was just caught is this one, and nobody else's as well."""
        return self._has_given_up and self._task.uncancel() <= self._cancellations


class AiohttpResponse:
    """Implements `UpstreamResponse`.

    Both timeouts of the body cost a chunk next to nothing: the total is looked at when a chunk is read, and silence is
    the watchdog's, which is told nothing but since when there is some.
    """

    __slots__ = (
        "_content",
        "_deadline",
        "_response",
        "_timeouts",
        "_watchdog",
        "allowed",
        "headers",
        "since",
        "status",
    )

    def __init__(self, response: aiohttp.ClientResponse, timeouts: UpstreamTimeouts, watchdog: Watchdog) -> None:
        self.status = response.status
        self.headers: Sequence[tuple[bytes, bytes]] = [(name.lower(), text) for name, text in response.raw_headers]
        self._response = response
        self._content = response.content
        self._timeouts = timeouts
        self._watchdog = watchdog
        self.since = time.monotonic()
        self.allowed = timeouts.idle
        self._deadline = self.since + timeouts.total
        if not self._content.is_eof():
            watchdog.watch(self)

    async def read(self) -> bytes:
        if self._content.is_eof() and self._content.exception() is None:  # all came with its head
            body = self._content.read_nowait()
            self.close()
            return body
        chunks: list[bytes] = []
        await self.forward(chunks.append)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def forward(self, take: Callable[[bytes], Awaitable[None] | None]) -> None:
        readany, monotonic, deadline = self._content.readany, time.monotonic, self._deadline
        while True:
            self.since = now = monotonic()
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
            self.since = NOT_WAITING
            if not chunk:
                break
            if (taking := take(chunk)) is not None:
                await taking
        self.close()

    def close(self) -> None:
        """Keep the connection if the body was read to its end, else drop it."""
        self._watchdog.unwatch(self)
        if self._content.is_eof():
            self._response.release()
        else:
            self._response.close()

    def give_up(self) -> None:
        self._content.set_exception(TimeoutError())
