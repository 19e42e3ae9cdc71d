"""The part of a format that operations share whose answers have no choices."""

from __future__ import annotations

from shared.adapters.azure_openai.formats import answers, bodies
from shared.domain.inference.parsed_body import ParsedBody
from shared.domain.routing.catalog import Route


class BufferedFormat:
    """Implements the part of `InferenceFormat` that operations without choices share."""

    is_multipart = False
    prompt_members: tuple[str, ...] = ("input",)
    """The members of a body that are the prompt."""

    def prompt(self, parsed: ParsedBody) -> bytes:
        return bodies.prompt_of(parsed.raw, self.prompt_members)

    def forwarded_body(self, parsed: ParsedBody, route: Route, model: str | None) -> bytes:  # noqa: ARG002
        return bodies.with_members(parsed.raw, {"model": model} if model is not None else {})

    def filtered_prompt(self, status: int, body: bytes) -> frozenset[str] | None:
        return answers.filtered_prompt(status, body)

    def error_event(self, code: str, message: str) -> bytes:
        return answers.error_event(code, message)
