"""The wire format of embeddings.

https://learn.microsoft.com/azure/ai-services/openai/reference#embeddings
"""

from __future__ import annotations

from typing import Final

import msgspec

from shared.adapters.azure_openai.formats import answers, bodies
from shared.adapters.azure_openai.formats.buffered import BufferedFormat
from shared.domain.inference.parsed_body import Completion, ParsedBody
from shared.domain.pricing.price_book import INPUT_TOKENS

_MARGIN_PER_INPUT: Final = 2


class _Answer(msgspec.Struct):
    usage: answers.TokenUsage | None = None


_answer_decoder = msgspec.json.Decoder(_Answer)


class Embeddings(BufferedFormat):
    """Implements `InferenceFormat` for `/embeddings`."""

    operation = "embeddings"

    def read_request(self, body: bytes, content_type: str) -> ParsedBody:
        fields = bodies.read(body)
        prompts = bodies.prompts(fields.get("input"), "input")
        return ParsedBody(
            raw=body,
            content_type=content_type,
            model=bodies.text(fields, "model"),
            user=bodies.first_text(fields.get("user")),
            texts=prompts.texts,
            fixed_tokens=prompts.tokens,
            input_margin=_MARGIN_PER_INPUT * prompts.inputs,
            basis=INPUT_TOKENS,
        )

    def read_completion(self, parsed: ParsedBody, body: bytes) -> Completion:  # noqa: ARG002 - the port
        answer = answers.read(_answer_decoder, body)
        usage, at_least = answers.NO_USAGE if answer.usage is None else answer.usage.stated(completion_tokens=0)
        return Completion(usage=usage, at_least=at_least)
