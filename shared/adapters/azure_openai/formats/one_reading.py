"""Refuse a JSON body that two conforming readers could read differently.

RFC 8259, section 4: of members with the same name, some readers take the first, some the last, some all. A caller could
so be judged by one value and served by another.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Final

from shared.domain.errors import InvalidRequest

_ESCAPED_COLON: Final = re.compile(rb"(?<!\\)(?:\\\\)*\\u003[aA]")
_MOST_NAME_CHARACTERS: Final = 64
NAMES: Final = frozenset({
    "audio", "background", "best_of", "conversation", "data_sources", "echo", "encoding_format", "dimensions",
    "frequency_penalty", "function_call", "functions", "include", "input", "instructions", "logit_bias", "logprobs",
    "max_completion_tokens", "max_output_tokens", "max_tokens", "max_tool_calls", "messages", "metadata",
    "modalities", "model", "n", "parallel_tool_calls", "partial_images", "prediction", "presence_penalty",
    "previous_response_id", "prompt", "prompt_cache_key", "quality", "reasoning", "reasoning_effort",
    "response_format", "safety_identifier", "seed", "service_tier", "size", "stop", "store", "stream",
    "stream_format", "stream_options", "suffix", "temperature", "text", "tool_choice", "tools", "top_logprobs",
    "top_p", "truncation", "user", "verbosity", "voice", "web_search_options",
})  # fmt: skip
"""Known names of members. Other names pass, unless they differ from one of these only in case."""


class _Repeated(Exception):
    """An object has two members with this name."""


def check(body: bytes, encoded: bytes, fields: Mapping[str, object]) -> None:
    """Raise `InvalidRequest` if two readers could differ. `fields` is the decoded body, `encoded` its encoding.

    Every member that decoding dropped takes its colon with it. So nothing was dropped if both have as many colons,
    those counted that the body writes as an escape.
    """
    if encoded != body:  # a body that is its own encoding has dropped nothing
        colons = body.count(b":")
        if b"\\" in body and b"\\u003" in body:
            colons += len(_ESCAPED_COLON.findall(body))
        if colons != encoded.count(b":"):
            raise _repeated(body)
    if not NAMES.issuperset(fields):
        _check_case(fields)


def _check_case(fields: Iterable[str]) -> None:
    """Raise `InvalidRequest` for a name that a reader may take for a known one, because it ignores case."""
    for name in fields:
        known = name.casefold()
        if name not in NAMES and known in NAMES:
            raise InvalidRequest(f"A member differs from '{known}' only in case: write '{known}'.", known)


def _repeated(body: bytes) -> InvalidRequest:
    name = _repeated_name(body)
    if name is None:
        return InvalidRequest("An object of the body has two members of one name: readers differ in which they take.")
    shown = name[:_MOST_NAME_CHARACTERS]
    return InvalidRequest(f"'{shown}' was sent twice in one object: readers differ in which one they take.", shown)


def _repeated_name(body: bytes) -> str | None:
    """Find the name of a repeated member; `None` if the body is nested too deeply for this reader."""
    try:
        json.loads(body, object_pairs_hook=_raise_repeated, parse_int=len, parse_float=len)  # no number is needed
    except _Repeated as repeated:
        return str(repeated)
    except RecursionError:
        pass
    return None


def _raise_repeated(pairs: list[tuple[str, object]]) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            raise _Repeated(name)
        seen.add(name)
