"""The wire format of image generations.

https://learn.microsoft.com/azure/ai-services/openai/reference-preview#image-generation. DALL-E is priced by image,
quality and size, and states no usage. The models named `gpt-image` are priced by token, and state usage.
"""

from __future__ import annotations

from functools import partial
from typing import Final

import msgspec

from shared.adapters.azure_openai.formats import answers, bodies
from shared.adapters.azure_openai.formats.buffered import BufferedFormat
from shared.adapters.azure_openai.formats.typed_events import TypedEventReader
from shared.domain.errors import InvalidRequest
from shared.domain.inference.parsed_body import BOUNDED, Completion, ParsedBody
from shared.domain.pricing.price_book import images_of
from shared.domain.pricing.usage import NOTHING_STATED, NOTHING_USED, LeastTokens, Usage

_MAX_TOKENS_OF_IMAGE: Final = 6_240
"""High quality, 1024 x 1536: https://platform.openai.com/docs/guides/image-generation#cost-and-latency."""
_USUAL_TOKENS_OF_IMAGE: Final = 1_056
"""Medium quality, 1024 x 1024."""
_TOKENS_OF_PARTIAL_IMAGE: Final = 100
_MOST_PARTIAL_IMAGES: Final = 3
_SIZES: Final = frozenset({"256x256", "512x512", "1024x1024", "1024x1536", "1536x1024", "1024x1792", "1792x1024"})
_UNBOUNDED: Final = frozenset({"output"})
"""Newer models make images of any size, for more tokens."""
_MARGIN: Final = 32
_DEFAULT_QUALITY: Final = "standard"
_DEFAULT_SIZE: Final = "1024x1024"
_MAX_VARIANT_CHARACTERS: Final = 64


class _Answer(msgspec.Struct):
    data: list[msgspec.Raw] | None = None
    usage: answers.InputOutputUsage | None = None


_answer_decoder = msgspec.json.Decoder(_Answer)


class ImageReader(TypedEventReader):
    """Reads the events of a streamed image."""

    ending_marks = (b"image_generation.completed",)
    last_types = frozenset({"image_generation.completed"})

    def __init__(self, images: int) -> None:
        """`images` is the number that was asked for. Each has an event of its own with its usage."""
        super().__init__(Usage(images=images))
        self._asked = images
        self._stated: list[answers.Stated] = []

    def read_ending_event(self, data: bytes) -> bool:
        super().read_ending_event(data)
        self.ended = len(self._stated) >= self._asked
        return not self.ended

    def take_usage(self, stated: answers.Stated) -> None:
        """Add the usage of one image. Until all are there, the others are taken to be as large as the largest."""
        self._stated.append(stated)
        self._take_all(self._asked)

    def end(self) -> None:
        super().end()
        if self._stated:
            self.units = Usage(images=len(self._stated))
            self._take_all(len(self._stated))

    def _take_all(self, images: int) -> None:
        """Take the usage of this number of images together. If one states none, all are estimated."""
        usages = [usage for usage, _ in self._stated if usage is not None]
        together = sum(usages, NOTHING_USED)
        if len(usages) >= images:
            super().take_usage((together, NOTHING_STATED))
            return
        largest = max((usage.output_tokens for usage in usages), default=0)
        output = together.output_tokens + (images - len(usages)) * largest
        super().take_usage((None, LeastTokens(input=together.input_tokens, output=output)))


class ImageGenerations(BufferedFormat):
    """Implements `InferenceFormat` for `/images/generations`."""

    operation = "images/generations"
    prompt_members = ("prompt",)

    def read_request(self, body: bytes, content_type: str) -> ParsedBody:
        fields = bodies.read(body)
        prompt = bodies.text(fields, "prompt")
        if not prompt:
            raise InvalidRequest("'prompt' is required and must be a string.", "prompt")
        images = bodies.integer(fields, "n", bodies.MOST_CHOICES) or 1
        partial_images = bodies.integer(fields, "partial_images", _MOST_PARTIAL_IMAGES, least=0) or 0
        quality = _text_or_default(bodies.text(fields, "quality"), _DEFAULT_QUALITY)
        size = _text_or_default(bodies.text(fields, "size"), _DEFAULT_SIZE)
        return ParsedBody(
            raw=body,
            content_type=content_type,
            model=bodies.text(fields, "model"),
            reader=partial(ImageReader, images) if bodies.flag(fields, "stream") else None,
            user=bodies.first_text(fields.get("user")),
            texts=[prompt],
            input_margin=_MARGIN,
            unbounded=BOUNDED if size in _SIZES else _UNBOUNDED,
            choices=images,
            max_output_tokens=_MAX_TOKENS_OF_IMAGE + partial_images * _TOKENS_OF_PARTIAL_IMAGE,
            unseen_output_tokens=images * _USUAL_TOKENS_OF_IMAGE,
            units=Usage(images=images),
            basis=images_of(f"{quality} {size}"[:_MAX_VARIANT_CHARACTERS]),
        )

    def read_completion(self, parsed: ParsedBody, body: bytes) -> Completion:  # noqa: ARG002 - the port
        answer = answers.read(_answer_decoder, body)
        usage, at_least = answers.NO_USAGE if answer.usage is None else answer.usage.stated()
        units = Usage(images=len(answer.data)) if answer.data else NOTHING_USED
        return Completion(usage=usage, at_least=at_least, units=units)


def _text_or_default(value: str | None, default: str) -> str:
    """Return a parameter as it is priced, or the model's default if the caller left it out or to the model."""
    stated = "".join((value or "").lower().split())
    return default if stated in ("", "auto") else stated
