"""The wire format of legacy completions: prompts in, texts out.

https://learn.microsoft.com/azure/ai-services/openai/reference#completions
"""

from __future__ import annotations

from typing import Final

from shared.adapters.azure_openai.formats import bodies
from shared.adapters.azure_openai.formats.choices import (
    CHOICES,
    ChoicesFormat,
    members_asking_for_usage,
    reader_for,
    sampling_defaults,
)
from shared.adapters.azure_openai.formats.pricing import named_tier
from shared.domain.inference.parsed_body import ParsedBody
from shared.domain.routing.catalog import Route

_DEFAULT_MAX_TOKENS: Final = 16
"""Upstream's default of `max_tokens`."""
_MARGIN_PER_PROMPT: Final = 8


class Completions(ChoicesFormat):
    """Implements `InferenceFormat` for `/completions`."""

    operation = "completions"
    prompt_members = ("prompt", "suffix")

    def read_request(self, body: bytes, content_type: str) -> ParsedBody:
        fields = bodies.read(body)
        prompts = bodies.prompts(fields.get("prompt"), "prompt")
        # `best_of` completions are generated and billed although fewer are returned.
        most_each = bodies.largest(fields, CHOICES, bodies.MOST_CHOICES) or 1
        return ParsedBody(
            raw=body,
            content_type=content_type,
            model=bodies.text(fields, "model"),
            reader=reader_for(fields),
            # 0 asks for the prompt's own probabilities, with `echo`.
            max_output_tokens=bodies.integer(fields, "max_tokens", bodies.MOST_TOKENS, least=0) or _DEFAULT_MAX_TOKENS,
            choices=prompts.inputs * most_each,
            user=bodies.first_text(fields.get("user")),
            texts=prompts.texts + bodies.texts_in(fields.get("suffix")),
            fixed_tokens=prompts.tokens,
            input_margin=_MARGIN_PER_PROMPT * prompts.inputs,
            service_tier=named_tier(fields),
        )

    def forwarded_body(self, parsed: ParsedBody, route: Route, model: str | None) -> bytes:
        members = members_asking_for_usage(parsed)
        if model is not None:
            members["model"] = model
        if route.deployment.has_sampling:
            members |= sampling_defaults(route, bodies.members_of(parsed.raw))
        return bodies.with_members(parsed.raw, members)
