"""The parts that all answers of Azure OpenAI share: usage, content filter results, and errors."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import msgspec

from shared.adapters.azure_openai.formats.findings import findings
from shared.domain.errors import BackendBroken
from shared.domain.pricing.usage import Usage, disjoint_usage

T = TypeVar("T")

_any_decoder = msgspec.json.Decoder()


class Details(msgspec.Struct):
    """Parts of a number of tokens. Each operation states some of them."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    audio_tokens: int | None = None
    reasoning_tokens: int | None = None


class TokenUsage(msgspec.Struct):
    """`usage` of chat completions, completions and embeddings."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: Details | None = None
    completion_tokens_details: Details | None = None

    def disjoint(self) -> Usage:
        return _disjoint(
            self.prompt_tokens, self.completion_tokens, self.prompt_tokens_details, self.completion_tokens_details
        )


class InputOutputUsage(msgspec.Struct):
    """`usage` of responses, images and audio."""

    input_tokens: int = 0
    output_tokens: int = 0
    input_tokens_details: Details | None = None
    input_token_details: Details | None = None
    """Images and audio write this name, in the singular."""
    output_tokens_details: Details | None = None
    type: str = ""
    """`tokens` or `duration` in transcriptions; empty elsewhere."""
    seconds: float = 0
    """The length of the audio, if `type` is `duration`."""

    def disjoint(self) -> Usage:
        input_details = self.input_tokens_details or self.input_token_details
        return _disjoint(self.input_tokens, self.output_tokens, input_details, self.output_tokens_details)


class WithFilterResults(msgspec.Struct):
    """A prompt or a choice with the content filter's results."""

    content_filter_results: dict[str, Any] | None = None


def _disjoint(prompt: int, completion: int, prompt_parts: Details | None, completion_parts: Details | None) -> Usage:
    """Return usage in disjoint meters: upstream's totals contain the tokens of their parts."""
    if prompt_parts is None and completion_parts is None:
        return disjoint_usage(prompt=prompt, completion=completion)
    inputs, outputs = prompt_parts or Details(), completion_parts or Details()
    return disjoint_usage(
        prompt=prompt,
        completion=completion,
        cached=inputs.cached_tokens or 0,
        cache_write=inputs.cache_write_tokens or 0,
        audio_in=inputs.audio_tokens or 0,
        audio_out=outputs.audio_tokens or 0,
        reasoning=outputs.reasoning_tokens or 0,
    )


def findings_of(filtered: Iterable[WithFilterResults]) -> Iterator[str]:
    """Return the content filter's findings in some prompts or choices."""
    for each in filtered:
        if each.content_filter_results:
            yield from findings(each.content_filter_results)


def read(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode a buffered answer. Raises `BackendBroken` if it cannot be read."""
    answer = read_or_none(decoder, body)
    if answer is None:
        raise BackendBroken("The answer of the backend is not valid JSON.")
    return answer


def read_or_none(decoder: msgspec.json.Decoder[T], data: bytes) -> T | None:
    """Decode an answer or an event; `None` if it cannot be read."""
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return None


def filtered_prompt(status: int, body: bytes) -> frozenset[str] | None:
    """Return the content filter's findings in a prompt that it refused; `None` if the answer is something else.

    https://learn.microsoft.com/azure/ai-services/openai/concepts/content-filter
    """
    if status != 400 or b"content_filter" not in body:
        return None
    try:
        error: Mapping[str, Any] = _any_decoder.decode(body)["error"]
        if error["code"] != "content_filter":
            return None
        inner = error.get("innererror") or {}
        return frozenset(findings(inner.get("content_filter_result") or {}))
    except (msgspec.MsgspecError, KeyError, TypeError, AttributeError):
        return None


def error_event(code: str, message: str) -> bytes:
    """Return the event that tells an error in a stream, where a status can no longer be sent."""
    error = {"code": code, "message": message, "type": code, "param": None}
    return b"data: %b\n\n" % msgspec.json.encode({"error": error})
