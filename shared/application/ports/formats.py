"""The port to the format of an inference operation."""

from __future__ import annotations

from typing import Protocol

from shared.domain.inference.parsed_body import Completion, ParsedBody
from shared.domain.routing.catalog import Route


class InferenceFormat(Protocol):
    """The format of the requests and answers of one inference operation."""

    operation: str
    """The path behind the deployment or behind `/openai/v1`, for example `chat/completions`."""
    is_multipart: bool
    """True for bodies of `multipart/form-data`; false for JSON."""

    def read_request(self, body: bytes, content_type: str) -> ParsedBody:
        """Parse a request's body. Raises `InvalidRequest` if it is malformed or not supported."""
        ...

    def forwarded_body(self, parsed: ParsedBody, route: Route, model: str | None) -> bytes:
        """Return the body to send to the route's backend: the caller's bytes with these changes.

        - `model` replaces the caller's model unless it is `None`.
        - Defaults of the deployment that the caller left out are added if the backend's model accepts them.
        """
        ...

    def prompt(self, parsed: ParsedBody) -> bytes:
        """Return the prompt as canonical JSON: the members that the model reads as its input, and no parameters."""
        ...

    def read_completion(self, parsed: ParsedBody, body: bytes) -> Completion:
        """Parse a completed answer. Raises `BackendBroken` if it cannot be read."""
        ...

    def filtered_prompt(self, status: int, body: bytes) -> frozenset[str] | None:
        """Return the findings in a prompt that upstream's content filter refused; `None` for any other answer."""
        ...

    def error_event(self, code: str, message: str) -> bytes:
        """Return the event that reports an error in a stream that has begun."""
        ...
