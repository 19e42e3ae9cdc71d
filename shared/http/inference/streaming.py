"""Send answers over ASGI to callers who may read slowly, stop reading, or disconnect.

Events go out as they arrive, and comments in silence. A caller who accepts nothing for too long is cut off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from shared.application.inference.meter_stream import StreamCut
from shared.composition.inference import ReaderTimes
from shared.http.reported import report_broken_answer

KEEP_ALIVE = b": keep-alive\n\n"
DISCONNECTED: Final = "client_disconnected"
FAILED: Final = "gateway_failed"
STALLED: Final = "client_stalled"
"""Error code of an answer whose caller is connected, but does not read it, or not fast enough."""
_TICKS: Final = 4
"""Checks in the shortest time that is measured."""


class AnswerFailed(Exception):
    """An answer broke off. The server logs this error in place of the one that it names, which may quote content."""


class Streamed(Protocol):
    """An answer that arrives in parts."""

    @property
    def is_text(self) -> bool:
        """True if the answer consists of events: comments may be sent between them."""
        ...

    async def forward(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Pass every part to `send`. Raises `StreamCut` to break the connection where it cannot tell of an error."""
        ...

    def abandon(self, error_code: str) -> None:
        """Stop: the caller has disconnected, or does not read. `error_code` tells which."""
        ...


class EventStreamResponse(Response):
    """Sends a streamed answer.

    The stream knows its own request, because the host sets no context variables while a stream runs.
    """

    def __init__(self, stream: Streamed, headers: Sequence[tuple[bytes, bytes]], times: ReaderTimes) -> None:
        super().__init__(status_code=200)
        self.raw_headers = list(headers)
        self._stream = stream
        self._times = times

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        task = asyncio.current_task()
        assert task is not None
        caller = _Caller(task, receive, send, self._times, is_text=self._stream.is_text)
        try:
            await caller.tell({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await self._stream.forward(caller.send)
            await caller.tell({"type": "http.response.body", "body": b"", "more_body": False})
        except asyncio.CancelledError:
            self._stream.abandon(caller.lost_by or DISCONNECTED)
            if not caller.lost_by:
                raise
            task.uncancel()
        except OSError:
            self._stream.abandon(DISCONNECTED)
        except StreamCut:
            pass  # the server closes the connection of an answer without an end
        except Exception as error:  # noqa: BLE001 - a defect, or headers that the server refuses
            self._stream.abandon(FAILED)
            report_broken_answer(error, self.headers.get("x-gateway-request-id", ""))
            raise AnswerFailed(type(error).__name__) from None
        finally:
            caller.close()


class _Caller:
    """Watches the caller's connection, and sends comments when nothing else was sent.

    Cancels the task when the caller disconnects or does not read. `lost_by` is then the reason, as an error code.
    """

    def __init__(
        self, task: asyncio.Task[object], receive: Receive, send: Send, times: ReaderTimes, *, is_text: bool
    ) -> None:
        self.lost_by = ""
        self._task = task
        self._send = send
        self._sending: Awaitable[None] | None = None
        self._stalled_ticks = 0
        self._is_quiet = True
        self._quiet_ticks = 0
        self._tick_seconds = min(times.keep_alive_seconds, times.stall_seconds) / _TICKS
        self._quiet_ticks_allowed = int(times.keep_alive_seconds / self._tick_seconds) - 1 if is_text else None
        self._stalled_ticks_allowed = times.stall_seconds / self._tick_seconds
        self._loop = asyncio.get_running_loop()
        self._ends_at = self._loop.time() + times.total_seconds
        self._comment: asyncio.Task[None] | None = None
        self._watch = asyncio.create_task(self._wait_for_disconnect(receive))
        self._timer = self._loop.call_later(self._tick_seconds, self._tick)

    def send(self, events: bytes) -> Awaitable[None]:
        """Send part of the body. The result is awaited until the caller's connection accepts it."""
        self._is_quiet = False
        self._sending = sending = self._send({"type": "http.response.body", "body": events, "more_body": True})
        return sending

    def tell(self, message: Message) -> Awaitable[None]:
        """Send a message other than a part of the body."""
        self._sending = sending = self._send(message)
        return sending

    def close(self) -> None:
        self._timer.cancel()
        self._sending = None
        self._watch.cancel()
        del self._watch  # which knows this object: both would wait for the collector
        if self._comment is not None:
            self._comment.cancel()

    async def _wait_for_disconnect(self, receive: Receive) -> None:
        message = await receive()
        while message["type"] != "http.disconnect":
            message = await receive()
        self._lose(DISCONNECTED)

    def _lose(self, error_code: str) -> None:
        self.lost_by = error_code
        self._task.cancel()

    def _tick(self) -> None:
        """Check at intervals what was sent and accepted, so that sending an event need not read the clock (ADR 12)."""
        if self._has_stalled():
            self._lose(STALLED)
            return
        self._quiet_ticks = self._quiet_ticks + 1 if self._is_quiet else 0
        self._is_quiet = True
        if self._quiet_ticks == self._quiet_ticks_allowed:
            self._quiet_ticks = -1
            if self._comment is None or self._comment.done():
                self._comment = self._loop.create_task(self._send_comment())
        self._timer = self._loop.call_later(self._tick_seconds, self._tick)

    def _has_stalled(self) -> bool:
        """Tell whether the caller has not accepted one message for too long, or is not done when the time is over.

        A server accepts messages until its buffer is full. After that, one waits until the caller has read some.
        """
        if not getattr(self._sending, "cr_suspended", False):  # another message begins a new count
            self._stalled_ticks = 0
            return False
        self._stalled_ticks = self._stalled_ticks + 1 if self._is_quiet else 0
        return self._stalled_ticks >= self._stalled_ticks_allowed or self._loop.time() >= self._ends_at

    async def _send_comment(self) -> None:
        await self._send({"type": "http.response.body", "body": KEEP_ALIVE, "more_body": True})
