"""The wire format of legacy completions: prompts in, texts out.

https://learn.microsoft.com/azure/ai-services/openai/reference#completions
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from shared.adapters.azure_openai.formats import bodies
from shared.adapters.azure_openai.formats.choices import ChoicesFormat, defaults_for, reader_for, with_usage_asked_for
from shared.domain.inference.parsed_body import ParsedBody
from shared.domain.routing.catalog import Route

_CAP_WITHOUT_ONE: Final = 16
"""What upstream takes for `max_tokens` where nobody states it."""
_MARGIN: Final = 8


class _Body(msgspec.Struct):
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
        texts, tokens, inputs = bodies.prompts(fields.prompt, "prompt")
        return ParsedBody(
            raw=body,
            content_type=content_type,
            model=bodies.text_or_none(fields.model),
            reader=reader_for(fields.stream, fields.stream_options),
            max_output_tokens=bodies.largest(fields.max_tokens) or _CAP_WITHOUT_ONE,
            choices=inputs * (bodies.largest(fields.n, fields.best_of) or 1),
            user=bodies.first_text(fields.user),
            texts=texts + bodies.texts_in(fields.suffix),
            fixed_tokens=tokens,
            input_margin=_MARGIN * inputs,
        )

    def forwarded_body(self, parsed: ParsedBody, route: Route, model: str | None) -> bytes:
        members = with_usage_asked_for(parsed)
        if model is not None:
            members["model"] = model
        if route.deployment.has_sampling:
            fields = bodies.read(_decoder, parsed.raw)
            stated = {"has_temperature": bool(bytes(fields.temperature)), "has_top_p": bool(bytes(fields.top_p))}
            members |= defaults_for(route, **stated)
        return bodies.with_members(parsed.raw, members)
