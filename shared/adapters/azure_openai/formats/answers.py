"""What all answers of Azure OpenAI have in common: usage, the content filter's verdicts, and refused prompts."""

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
    """Parts of a token total. Which names a total has depends on the operation."""

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


class InOutUsage(msgspec.Struct):
    """`usage` of responses, images and audio. Images and audio state their input's details in the singular."""

    input_tokens: int = 0
    output_tokens: int = 0
    input_tokens_details: Details | None = None
    input_token_details: Details | None = None
    output_tokens_details: Details | None = None
    type: str = ""
    seconds: float = 0

    def disjoint(self) -> Usage:
        input_details = self.input_tokens_details or self.input_token_details
        return _disjoint(self.input_tokens, self.output_tokens, input_details, self.output_tokens_details)


class Judged(msgspec.Struct):
    """Anything that the content filter has judged."""

    content_filter_results: dict[str, Any] | None = None


def _disjoint(prompt: int, completion: int, prompt_parts: Details | None, completion_parts: Details | None) -> Usage:
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


def findings_of(judged: Iterable[Judged]) -> Iterator[str]:
    for each in judged:
        if each.content_filter_results:
            yield from findings(each.content_filter_results)


def read(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """A buffered answer. Raises `BackendBroken`."""
    answer = read_or_none(decoder, body)
    if answer is None:
        raise BackendBroken("The backend's answer is not valid JSON.")
    return answer


def read_or_none(decoder: msgspec.json.Decoder[T], data: bytes) -> T | None:
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return None


def filtered_prompt(status: int, body: bytes) -> frozenset[str] | None:
    """What the content filter found in a prompt that it refused, or `None` if the answer is something else."""
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
    """How an error is told once a stream has begun."""
    error = {"code": code, "message": message, "type": code, "param": None}
    return b"data: %b\n\n" % msgspec.json.encode({"error": error})
