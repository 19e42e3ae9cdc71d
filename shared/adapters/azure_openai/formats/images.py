"""The wire format of image generations.

https://learn.microsoft.com/azure/ai-services/openai/reference-preview#image-generation. DALL-E is priced by image,
quality and size, and states no usage. The models named `gpt-image` are priced by token, and state usage.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import msgspec

from shared.adapters.azure_openai.formats import answers, bodies
from shared.adapters.azure_openai.formats.buffered import BufferedFormat
from shared.adapters.azure_openai.formats.typed_events import TypedEventReader
from shared.domain.errors import InvalidRequest
from shared.domain.inference.parsed_body import Completion, ParsedBody
from shared.domain.pricing.price_book import images_of
from shared.domain.pricing.usage import Usage

_MAX_TOKENS_OF_IMAGE: Final = 6_240
"""High quality, 1024 x 1536: https://platform.openai.com/docs/guides/image-generation#cost-and-latency."""
_USUAL_TOKENS_OF_IMAGE: Final = 1_056
"""Medium quality, 1024 x 1024."""
_TOKENS_OF_PARTIAL_IMAGE: Final = 100
_MARGIN: Final = 32
_ONE_IMAGE: Final = Usage(images=1)
_DEFAULT_QUALITY: Final = "standard"
_DEFAULT_SIZE: Final = "1024x1024"
_MAX_VARIANT_CHARACTERS: Final = 64


class _Body(msgspec.Struct):
    """The fields of a request that the gateway reads, of whatever types the caller sent."""

    model: Any = None
    prompt: Any = None
    n: Any = None
    size: Any = None
    quality: Any = None
    stream: Any = None
    partial_images: Any = None
    user: Any = None


class _Answer(msgspec.Struct):
    data: list[msgspec.Raw] | None = None
    usage: answers.InputOutputUsage | None = None


_decoder = msgspec.json.Decoder(_Body)
_answer_decoder = msgspec.json.Decoder(_Answer)


class ImageReader(TypedEventReader):
    """Reads the events of a streamed image."""

    ending_marks = (b"image_generation.completed",)
    last_types = frozenset({"image_generation.completed"})


class ImageGenerations(BufferedFormat):
    """Implements `InferenceFormat` for `/images/generations`."""

    operation = "images/generations"

    def read_request(self, body: bytes, content_type: str) -> ParsedBody:
        fields = bodies.read(_decoder, body)
        if not isinstance(fields.prompt, str) or not fields.prompt:
            raise InvalidRequest("'prompt' is required and must be a string.", "prompt")
        images = bodies.largest_positive(fields.n) or 1
        partial_images = (bodies.largest_positive(fields.partial_images) or 0) * _TOKENS_OF_PARTIAL_IMAGE
        variant = f"{_text_or_default(fields.quality, _DEFAULT_QUALITY)} {_text_or_default(fields.size, _DEFAULT_SIZE)}"
        return ParsedBody(
            raw=body,
            content_type=content_type,
            model=bodies.text_or_none(fields.model),
            reader=partial(ImageReader, _ONE_IMAGE) if fields.stream is True else None,
            user=bodies.first_text(fields.user),
            texts=[fields.prompt],
            input_margin=_MARGIN,
            choices=images,
            max_output_tokens=_MAX_TOKENS_OF_IMAGE + partial_images,
            unseen_output_tokens=images * _USUAL_TOKENS_OF_IMAGE,
            units=Usage(images=images),
            basis=images_of(variant[:_MAX_VARIANT_CHARACTERS]),
        )

    def read_completion(self, parsed: ParsedBody, body: bytes) -> Completion:  # noqa: ARG002 - the port
        answer = answers.read(_answer_decoder, body)
        stated = None if answer.usage is None else answer.usage.disjoint()
        return Completion(usage=stated, units=Usage(images=len(answer.data or ())))


def _text_or_default(value: object, default: str) -> str:
    """Return a parameter, or the model's default if the caller left it out or to the model."""
    return value if isinstance(value, str) and value and value != "auto" else default
