"""Answers of a backend as answers of the gateway: streamed, or in one piece."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from shared.application.inference.attempt_backend import Served
from shared.application.inference.serve_stored_responses import ForwardedResponse
from shared.composition.inference import ReaderTimes
from shared.http.inference.streaming import EventStreamResponse

_PART_BYTES: Final = 65_536
"""Servers keep about as much in memory for a caller who does not read."""


def answer(served: Served | ForwardedResponse, headers: list[tuple[bytes, bytes]], times: ReaderTimes) -> Response:
    """Make the answer to the caller, with exactly these headers."""
    if served.stream is not None:
        return EventStreamResponse(served.stream, headers, times)
    if len(served.body) > _PART_BYTES:
        return _LargeResponse(served.status, served.body, headers, times)
    return _BufferedResponse(served.status, served.body, headers)


class _BufferedResponse(Response):
    """An answer in one piece, with the backend's status and bytes."""

    def __init__(self, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        # ADR 12: the base class is not initialised, because it would build headers that nobody uses.
        self.status_code = status
        self.body = body
        self.background = None
        self.raw_headers = [*headers, (b"content-length", str(len(body)).encode())]


class _LargeResponse(_BufferedResponse):
    """A large answer, sent in parts. It is given up if the caller does not read, which frees its memory."""

    def __init__(self, status: int, body: bytes, headers: list[tuple[bytes, bytes]], times: ReaderTimes) -> None:
        super().__init__(status, body, headers)
        self._times = times

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI
        # A server closes the connection of an answer without an end.
        with suppress(TimeoutError):
            async with asyncio.timeout(self._times.total_seconds):
                for message in self._messages():
                    async with asyncio.timeout(self._times.stall_seconds):
                        await send(message)

    def _messages(self) -> Iterator[Message]:
        yield {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        for start in range(0, len(self.body), _PART_BYTES):
            yield {"type": "http.response.body", "body": self.body[start : start + _PART_BYTES], "more_body": True}
        yield {"type": "http.response.body", "body": b"", "more_body": False}
