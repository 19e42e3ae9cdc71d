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
        """Parse the body of a request. Raises `InvalidRequest`."""
        ...

    def forwarded_body(self, parsed: ParsedBody, route: Route, model: str | None) -> bytes:
        """Return the body to send to the route's backend.

        It is the caller's bytes, with `model` set if given. Fields that the caller left out get the deployment's
        defaults, as far as the backend's model accepts them.
        """
        ...

    def read_completion(self, parsed: ParsedBody, body: bytes) -> Completion:
        """Read a whole answer. Raises `BackendBroken` if it cannot be read."""
        ...

    def filtered_prompt(self, status: int, body: bytes) -> frozenset[str] | None:
        """Return the findings of the content filter if it refused the prompt; `None` for any other answer."""
        ...

    def error_event(self, code: str, message: str) -> bytes:
        """Return the event that tells of an error in a stream that has begun."""
        ...
