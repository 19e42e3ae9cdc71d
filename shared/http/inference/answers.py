"""Answers of a backend as answers of the gateway: streamed, or in one piece."""

from __future__ import annotations

from starlette.responses import Response

from shared.application.inference.attempt_backend import Served
from shared.application.inference.serve_stored_responses import ForwardedResponse
from shared.http.inference.streaming import EventStreamResponse


def answer(
    served: Served | ForwardedResponse, headers: list[tuple[bytes, bytes]], keep_alive_seconds: float
) -> Response:
    """Make the answer to the caller, with exactly these headers."""
    if served.stream is not None:
        return EventStreamResponse(served.stream, headers, keep_alive_seconds)
    return _BufferedResponse(served.status, served.body, headers)


class _BufferedResponse(Response):
    """An answer in one piece, with the backend's status and bytes."""

    def __init__(self, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        # ADR 12: the base class is not initialised, because it would build headers that nobody uses.
        self.status_code = status
        self.body = body
        self.background = None
        self.raw_headers = [*headers, (b"content-length", str(len(body)).encode())]
