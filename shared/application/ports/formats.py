"""The port to the format of an inference operation."""

from __future__ import annotations

from typing import Protocol

from shared.domain.inference.parsed_body import Completion, ParsedBody
from shared.domain.routing.catalog import Route


class InferenceFormat(Protocol):
    """The wire format of one inference operation."""

    operation: str
    """The path behind the deployment or behind `/openai/v1`, for example `chat/completions`."""
    is_multipart: bool
    """True for bodies of `multipart/form-data`; false for JSON."""

    def read_request(self, body: bytes, content_type: str) -> ParsedBody:
        """Raises `InvalidRequest`."""
        ...

    def forwarded_body(self, parsed: ParsedBody, route: Route, model: str | None) -> bytes:
        """The body to send to the route's backend: the caller's bytes, with `model` set where it is given, and
        with those of the deployment's defaults that the caller left out and the backend's model accepts."""
        ...

    def read_completion(self, parsed: ParsedBody, body: bytes) -> Completion:
        """Raises `BackendBroken` if the answer cannot be read."""
        ...

    def filtered_prompt(self, status: int, body: bytes) -> frozenset[str] | None:
        """What upstream's filter found in a prompt that it refused, or `None` if it did not."""
        ...

    def error_event(self, code: str, message: str) -> bytes:
        """How an error is told once a stream of events has begun."""
        ...
