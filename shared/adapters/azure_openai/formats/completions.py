"""The wire format of legacy completions: prompts in, texts out.

https://learn.microsoft.com/azure/ai-services/openai/reference#completions
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from shared.adapters.azure_openai.formats import bodies
from shared.adapters.azure_openai.formats.choices import (
    ChoicesFormat,
    members_asking_for_usage,
    reader_for,
    sampling_defaults,
)
from shared.domain.inference.parsed_body import ParsedBody
from shared.domain.routing.catalog import Route

_DEFAULT_MAX_TOKENS: Final = 16
"""Upstream's default of `max_tokens`."""
_MARGIN_PER_PROMPT: Final = 8


class _Body(msgspec.Struct):
    """The fields of a request that the gateway reads, of whatever types the caller sent."""

    model: Any = None
    stream: Any = None
    stream_options: Any = None
    prompt: Any = None
    suffix: Any = None
    max_tokens: Any = None
    n: Any = None
    best_of: Any = None
    user: Any = None
    temperature: msgspec.Raw = msgspec.Raw()
    top_p: msgspec.Raw = msgspec.Raw()


_decoder = msgspec.json.Decoder(_Body)


class Completions(ChoicesFormat):
    """Implements `InferenceFormat` for `/completions`."""

    operation = "completions"

    def read_request(self, body: bytes, content_type: str) -> ParsedBody:
        fields = bodies.read(_decoder, body)
        prompts = bodies.prompts(fields.prompt, "prompt")
        return ParsedBody(
            raw=body,
            content_type=content_type,
            model=bodies.text_or_none(fields.model),
            reader=reader_for(fields.stream, fields.stream_options),
            max_output_tokens=bodies.largest_positive(fields.max_tokens) or _DEFAULT_MAX_TOKENS,
            # `best_of` completions are generated and billed although fewer are returned.
            choices=prompts.inputs * (bodies.largest_positive(fields.n, fields.best_of) or 1),
            user=bodies.first_text(fields.user),
            texts=prompts.texts + bodies.texts_in(fields.suffix),
            fixed_tokens=prompts.tokens,
            input_margin=_MARGIN_PER_PROMPT * prompts.inputs,
        )

    def forwarded_body(self, parsed: ParsedBody, route: Route, model: str | None) -> bytes:
        members = members_asking_for_usage(parsed)
        if model is not None:
            members["model"] = model
        if route.deployment.has_sampling:
            fields = bodies.read(_decoder, parsed.raw)
            stated = {"has_temperature": bool(bytes(fields.temperature)), "has_top_p": bool(bytes(fields.top_p))}
            members |= sampling_defaults(route, **stated)
        return bodies.with_members(parsed.raw, members)
