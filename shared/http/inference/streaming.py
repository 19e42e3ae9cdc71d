"""Streams an answer over ASGI: events as they arrive, comments in silence, until the end or a disconnect."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from shared.application.inference.meter_stream import StreamCut

KEEP_ALIVE = b": keep-alive\n\n"
_QUIET_TICKS = 3
_NEVER = 86_400.0
"""Seconds, longer than any answer takes."""


class Streamed(Protocol):
    """An answer that arrives in parts."""

    @property
    def is_text(self) -> bool:
        """True if the answer consists of events: comments may be sent between them."""
        ...

    async def forward(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Pass every part to `send`. Raises `StreamCut` to break the connection where it cannot tell of an error."""
        ...

    def abandon(self) -> None:
        """Stop: the caller has disconnected."""
        ...


class EventStreamResponse(Response):
    """Sends a streamed answer.

    The stream knows its own request, because the host sets no context variables while a stream runs.
    """

    def __init__(self, stream: Streamed, headers: Sequence[tuple[bytes, bytes]], keep_alive_seconds: float) -> None:
        super().__init__(status_code=200)
        self.raw_headers = list(headers)
        self._stream = stream
        self._keep_alive_seconds = keep_alive_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        task = asyncio.current_task()
        assert task is not None
        caller = _Caller(task, receive, send, self._keep_alive_seconds if self._stream.is_text else _NEVER)
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await self._stream.forward(caller.send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        except asyncio.CancelledError:
            self._stream.abandon()
            if not caller.has_gone:
                raise
            task.uncancel()
        except OSError:
            self._stream.abandon()
        except StreamCut:
            pass  # the server closes the connection of an answer without an end
        finally:
            caller.close()


class _Caller:
    """Watches the caller's connection for a disconnect, and sends comments when nothing else was sent."""

    def __init__(self, task: asyncio.Task[object], receive: Receive, send: Send, keep_alive_seconds: float) -> None:
        self.has_gone = False
        self._task = task
        self._send = send
        self._is_quiet = True
        self._quiet_ticks = 0
        self._tick_seconds = keep_alive_seconds / (_QUIET_TICKS + 1)
        self._loop = asyncio.get_running_loop()
        self._comment: asyncio.Task[None] | None = None
        self._watch = asyncio.create_task(self._wait_for_disconnect(receive))
        self._timer = self._loop.call_later(self._tick_seconds, self._tick)

    def send(self, events: bytes) -> Awaitable[None]:
        """Send part of the body. The result is awaited until the caller's connection accepts it."""
        self._is_quiet = False
        return self._send({"type": "http.response.body", "body": events, "more_body": True})

    def close(self) -> None:
        self._timer.cancel()
        self._watch.cancel()
        del self._watch  # which knows this object: both would wait for the collector
        if self._comment is not None:
            self._comment.cancel()

    async def _wait_for_disconnect(self, receive: Receive) -> None:
        message = await receive()
        while message["type"] != "http.disconnect":
            message = await receive()
        self.has_gone = True
        self._task.cancel()

    def _tick(self) -> None:
        """Check at intervals if anything was sent, so that sending an event need not read the clock (ADR 12)."""
        self._quiet_ticks = self._quiet_ticks + 1 if self._is_quiet else 0
        self._is_quiet = True
        if self._quiet_ticks == _QUIET_TICKS:
            self._quiet_ticks = -1
            if self._comment is None or self._comment.done():
                self._comment = self._loop.create_task(self._send_comment())
        self._timer = self._loop.call_later(self._tick_seconds, self._tick)

    async def _send_comment(self) -> None:
        await self._send({"type": "http.response.body", "body": KEEP_ALIVE, "more_body": True})
