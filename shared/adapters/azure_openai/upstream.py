"""Forward inference requests over one pooled aiohttp session, raw bytes both ways (ADR 3)."""

from __future__ import annotations

import asyncio
import io
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

import aiohttp
from yarl import URL

from shared.adapters.azure_openai.backend_keys import BackendKeys
from shared.adapters.azure_openai.watchdog import NOT_WAITING, Watchdog
from shared.adapters.identity.credentials import TokenProvider
from shared.domain.errors import (
    AnswerTooLarge,
    AnswerTooLong,
    BackendBroken,
    BackendTimeout,
    BackendUnavailable,
    StorageUnavailable,
)
from shared.domain.routing.catalog import Backend, BackendApi, BackendAuth
from shared.domain.values import record

MAX_ANSWER_BYTES = 67_108_864
_LARGE_BODY_BYTES = 1_048_576
_UNAUTHORIZED = 401
_NOT_PROCESSED = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL)
"""Errors before the request was sent, so that the backend provably did not bill it."""


@record
class UpstreamTimeouts:
    """The timeouts of one request. An error message names the one that caused it."""

    connect_seconds: float
    head_seconds: float
    """From the request to the head of its answer."""
    idle_seconds: float
    """Until the next chunk of a body."""
    total_seconds: float
    """From the head to the end of the body."""


class AiohttpUpstream:
    """Implements `Upstream`."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        tokens: TokenProvider,
        keys: BackendKeys,
        timeouts: UpstreamTimeouts,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        """`max_answer_bytes` bounds answers in one piece. Streams are bounded by their events and the total timeout."""
        self._max_answer_bytes = max_answer_bytes
        self._session = session
        self._tokens = tokens
        self._keys = keys
        self._timeouts = timeouts
        self._client_timeout = aiohttp.ClientTimeout(total=None, sock_connect=timeouts.connect_seconds)
        self._watchdog = Watchdog(min(timeouts.head_seconds, timeouts.idle_seconds))

    async def send(
        self,
        backend: Backend,
        method: str,
        path: str,
        body: bytes,
        headers: Mapping[str, str],
        head_seconds: float | None = None,
        another_key: str | None = None,
    ) -> AiohttpResponse:
        """Send as the port says. `another_key` is sent in place of the backend's, which the backend has refused."""
        url = URL(backend.endpoint.rstrip("/") + path, encoded=True)
        has_key = backend.auth is BackendAuth.API_KEY
        key = (another_key or self._keys.held(backend) or await self._keys.key(backend)) if has_key else None
        credential = await self._token(backend) if key is None else _key_header(backend, key)
        authorized = {**headers, **backend.headers, **credential}
        longest = self._timeouts.head_seconds
        allowed = longest if head_seconds is None else min(head_seconds, longest)
        wait = _HeadWait(allowed)
        self._watchdog.watch(wait)
        try:
            response = await self._session.request(
                method,
                url,
                data=_payload(body),
                headers=authorized,
                timeout=self._client_timeout,
                allow_redirects=False,  # a redirect would send credentials and prompts to another host
            )
        except asyncio.CancelledError:
            if wait.has_timed_out():
                raise BackendTimeout(
                    f"The backend did not begin to answer within the head timeout of {allowed:g} s."
                ) from None
            raise
        except _NOT_PROCESSED as error:
            raise BackendUnavailable("No backend of the deployment could be reached.") from error
        except aiohttp.ClientError as error:
            raise BackendBroken("The connection to the backend broke before it answered.") from error
        finally:
            self._watchdog.unwatch(wait)
        answered = AiohttpResponse(response, self._timeouts, self._watchdog, self._max_answer_bytes)
        if answered.status != _UNAUTHORIZED or key is None or another_key is not None:
            return answered
        another = await self._another_key(backend, key, answered)
        left = wait.since + allowed - time.monotonic()
        if another is None or left <= 0:
            return answered
        answered.close()  # a backend that refuses the key bills nothing, so this is still the same attempt
        return await self.send(backend, method, path, body, headers, left, another)

    async def _another_key(self, backend: Backend, refused: str, answered: AiohttpResponse) -> str | None:
        """Return another key to try. Closes the answer if the caller is gone before there is one."""
        try:
            return await self._keys.another(backend, refused)
        except BaseException:
            answered.close()
            raise

    async def _token(self, backend: Backend) -> Mapping[str, str]:
        """Return the header with a token of the gateway's identity. Raises `BackendUnavailable` without one."""
        try:
            token = await self._tokens.token(backend.token_scope, backend.authority)
        except StorageUnavailable as error:
            raise BackendUnavailable("The gateway could not obtain an access token for the backend.") from error
        return {"Authorization": f"Bearer {token}"}


def _key_header(backend: Backend, key: str) -> Mapping[str, str]:
    return {"api-key": key} if backend.api is BackendApi.AZURE else {"Authorization": f"Bearer {key}"}


def _payload(body: bytes) -> bytes | io.BytesIO:
    """Return a small body as it is, and a large one as a file, which aiohttp sends in parts.

    Sending a large body at once would block the event loop.
    """
    return body if len(body) <= _LARGE_BODY_BYTES else io.BytesIO(body)


class _HeadWait:
    """Implements `Waiting` for the head of an answer. Giving up cancels the waiting task, as `asyncio.timeout` does."""

    __slots__ = ("_cancellations_before", "_has_given_up", "_task", "allowed_seconds", "since")
    ends_at = math.inf

    def __init__(self, seconds: float) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.since = time.monotonic()
        self.allowed_seconds = seconds
        self._task = task
        self._cancellations_before = task.cancelling()
        self._has_given_up = False

    def give_up(self) -> None:
        self._has_given_up = True
        self._task.cancel()

    def has_timed_out(self) -> bool:
        """Tell whether the `CancelledError` just caught is this timeout's alone. Call it once.

        If another caller has cancelled the task too, that cancellation must go on.
        """
        return self._has_given_up and self._task.uncancel() <= self._cancellations_before


class AiohttpResponse:
    """Implements `UpstreamResponse`, and `Waiting` for the next chunk of its body.

    A chunk must not pay for a timer (ADR 12). The total timeout is checked when a chunk is read, and by the watchdog
    while none arrives. The idle timeout is the watchdog's, for which a chunk sets `since`.
    """

    __slots__ = (
        "_content",
        "_max_bytes",
        "_response",
        "_timeouts",
        "_watchdog",
        "allowed_seconds",
        "ends_at",
        "headers",
        "since",
        "status",
    )

    def __init__(
        self,
        response: aiohttp.ClientResponse,
        timeouts: UpstreamTimeouts,
        watchdog: Watchdog,
        max_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        self._max_bytes = max_bytes
        self.status = response.status
        self.headers: Sequence[tuple[bytes, bytes]] = [(name.lower(), text) for name, text in response.raw_headers]
        self._response = response
        self._content = response.content
        self._timeouts = timeouts
        self._watchdog = watchdog
        self.since = time.monotonic()
        self.allowed_seconds = timeouts.idle_seconds
        self.ends_at = self.since + timeouts.total_seconds
        if not self._content.is_eof():
            watchdog.watch(self)

    async def read(self) -> bytes:
        if self._content.is_eof() and self._content.exception() is None:  # ADR 12: the whole body came with its head
            body = self._content.read_nowait()
            self.close()
            return body
        chunks: list[bytes] = []
        left = self._max_bytes

        def take(chunk: bytes) -> None:
            nonlocal left
            left -= len(chunk)
            if left < 0:
                self.close()
                raise AnswerTooLarge(f"The answer of the backend exceeds the limit of {self._max_bytes} bytes.")
            chunks.append(chunk)

        await self.forward(take)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    async def forward(self, take: Callable[[bytes], Awaitable[None] | None]) -> None:
        # ADR 12: locals, because this loop runs for every chunk of every stream.
        readany, monotonic, ends_at = self._content.readany, time.monotonic, self.ends_at
        while True:
            self.since = now = monotonic()
            if now > ends_at:
                self.close()
                raise self._too_long()
            try:
                chunk = await readany()
            except TimeoutError as error:  # set by `give_up`
                self.close()
                if monotonic() >= ends_at:
                    raise self._too_long() from error
                raise BackendTimeout(
                    f"The backend fell silent for the idle timeout of {self._timeouts.idle_seconds:g} s."
                ) from error
            except aiohttp.ClientError as error:
                self.close()
                raise BackendBroken("The connection to the backend broke while it answered.") from error
            self.since = NOT_WAITING  # a slow client must not count as a silent backend
            if not chunk:
                break
            if (taking := take(chunk)) is not None:
                await taking
        self.close()

    def close(self) -> None:
        """Return the connection to the pool if the body was read to its end, else close it. Idempotent."""
        self._watchdog.unwatch(self)
        if self._content.is_eof():
            self._response.release()
        else:
            self._response.close()

    def _too_long(self) -> AnswerTooLong:
        return AnswerTooLong(f"The answer exceeded the total timeout of {self._timeouts.total_seconds:g} s.")

    def give_up(self) -> None:
        self._content.set_exception(TimeoutError())  # wakes the reader, or is raised by its next read
