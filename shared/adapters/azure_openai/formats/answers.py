"""The parts that all answers of Azure OpenAI share: usage, content filter results, and errors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, Final, TypeAlias, TypeVar, get_args

import msgspec

from shared.adapters.azure_openai.formats.findings import findings
from shared.domain.errors import BackendBroken
from shared.domain.pricing.usage import NOTHING_STATED, LeastTokens, Usage, disjoint_usage

T = TypeVar("T")
Stated: TypeAlias = tuple[Usage | None, LeastTokens]
"""A usage as it can be booked; if there is none, the tokens that it states all the same."""
NO_USAGE: Final[Stated] = (None, NOTHING_STATED)

_any_decoder = msgspec.json.Decoder()
_members_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NOT_GENERATED: Final = frozenset(
    {"annotations", "b64_json", "call_id", "data", "encrypted_content", "id", "index", "logprobs", "result", "role",
     "status", "type"}
)  # fmt: skip
"""Members of an answer's text whose strings are not generated, or are not text."""


class Details(msgspec.Struct):
    """Parts of a number of tokens. Each operation states some of them."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    audio_tokens: int | None = None
    reasoning_tokens: int | None = None


_NO_DETAILS: Final = Details()


class TokenUsage(msgspec.Struct):
    """`usage` of chat completions, completions and embeddings."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    total_tokens: int | None = None
    prompt_tokens_details: Details | None = None
    completion_tokens_details: Details | None = None

    def stated(self, completion_tokens: int | None = None) -> Stated:
        """Return the usage in disjoint meters. `completion_tokens` stands in where upstream states none."""
        completion = self.completion_tokens
        return _stated(
            self.prompt_tokens,
            completion_tokens if completion is None else completion,
            self.total_tokens,
            self.prompt_tokens_details,
            self.completion_tokens_details,
        )


class InputOutputUsage(msgspec.Struct):
    """`usage` of responses, images and audio."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    total_tokens: int | None = None
    input_tokens_details: Details | None = None
    input_token_details: Details | None = None
    """Images and audio write this name, in the singular."""
    output_tokens_details: Details | None = None
    type: str = ""
    """`tokens` or `duration` in transcriptions; empty elsewhere."""
    seconds: float = 0
    """The length of the audio, if `type` is `duration`."""

    def stated(self) -> Stated:
        """Return the usage in disjoint meters."""
        input_details = self.input_tokens_details or self.input_token_details
        return _stated(
            self.input_tokens, self.output_tokens, self.total_tokens, input_details, self.output_tokens_details
        )


class WithFilterResults(msgspec.Struct):
    """A prompt or a choice with the content filter's results."""

    content_filter_results: dict[str, Any] | None = None


def _stated(
    prompt: int | None,
    completion: int | None,
    total: int | None,
    prompt_parts: Details | None,
    completion_parts: Details | None,
) -> Stated:
    """Return usage in disjoint meters: upstream's totals contain the tokens of their parts.

    A usage states nothing that can be booked if a total is missing or negative, the prompt is empty, or totals and
    parts contradict each other.
    """
    if (
        prompt is None
        or completion is None
        or prompt <= 0
        or completion < 0
        or (total is not None and total > prompt + completion)
        or not (prompt_parts is None or _fit(prompt, prompt_parts))
        or not (completion_parts is None or _fit(completion, completion_parts))
    ):
        known = [max(0, each or 0) for each in (prompt, completion, total)]
        return None, LeastTokens(input=known[0], output=known[1], combined=known[2])
    if prompt_parts is None and completion_parts is None:
        return disjoint_usage(prompt=prompt, completion=completion), NOTHING_STATED
    inputs, outputs = prompt_parts or _NO_DETAILS, completion_parts or _NO_DETAILS
    usage = disjoint_usage(
        prompt=prompt,
        completion=completion,
        cached=inputs.cached_tokens or 0,
        cache_write=inputs.cache_write_tokens or 0,
        audio_in=inputs.audio_tokens or 0,
        audio_out=outputs.audio_tokens or 0,
        reasoning=outputs.reasoning_tokens or 0,
    )
    return usage, NOTHING_STATED


def _fit(combined: int, parts: Details) -> bool:
    """Tell whether no part of a number of tokens is negative or larger than the whole."""
    return (
        0 <= (parts.cached_tokens or 0) <= combined
        and 0 <= (parts.cache_write_tokens or 0) <= combined
        and 0 <= (parts.audio_tokens or 0) <= combined
        and 0 <= (parts.reasoning_tokens or 0) <= combined
    )


def findings_of(filtered: Iterable[WithFilterResults]) -> list[str]:
    """Return the content filter's findings in some prompts or choices."""
    results = [each.content_filter_results for each in filtered if each.content_filter_results]
    return [finding for each in results for finding in findings(each)]


def read(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode a buffered answer. Raises `BackendBroken` if it cannot be read."""
    answer = read_or_none(decoder, body)
    if answer is None:
        raise BackendBroken("The answer of the backend is not valid JSON.")
    return answer


def read_or_none(decoder: msgspec.json.Decoder[T], data: bytes) -> T | None:
    """Decode an answer or an event; `None` if it cannot be read.

    A member of an unexpected type counts as missing, so that it hides no other member.
    """
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        pass
    try:
        leniently_read: T = _read_leniently(decoder.type, data)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return None
    return leniently_read


def _read_leniently(kind: Any, data: bytes | msgspec.Raw) -> Any:
    struct = next((each for each in (kind, *get_args(kind)) if _is_struct(each)), None)
    if struct is None:
        return msgspec.json.decode(data, type=kind)
    members = _members_decoder.decode(data)
    readable: dict[str, Any] = {}
    for field in msgspec.structs.fields(struct):
        if field.encode_name in members:
            with suppress(msgspec.MsgspecError):
                readable[field.name] = _read_leniently(field.type, members[field.encode_name])
    return struct(**readable)


def _is_struct(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, msgspec.Struct)


def document_of(data: bytes) -> dict[str, Any]:
    """Return a JSON object; an empty one if `data` is anything else."""
    try:
        document = _any_decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return {}
    return document if isinstance(document, dict) else {}


def dicts_in(value: object) -> list[dict[str, Any]]:
    """Return the objects in an array; none if `value` is anything else."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def generated_text(value: object) -> str:
    """Join all generated strings in part of an answer, in order: also those in fields that are not known yet."""
    found: list[str] = []
    waiting = [value]  # no recursion, because upstream decides how deep the value is
    while waiting:
        each = waiting.pop()
        if isinstance(each, str):
            found.append(each)
        elif isinstance(each, dict):
            waiting += [part for name, part in reversed(each.items()) if name not in _NOT_GENERATED]
        elif isinstance(each, list):
            waiting += reversed(each)
    return "".join(found)


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
