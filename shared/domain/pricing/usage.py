"""The consumption of one upstream attempt, in disjoint meters."""

from __future__ import annotations

from enum import StrEnum

from shared.domain.stored_fields import stored
from shared.domain.values import fact, field_names


class Meter(StrEnum):
    """The disjoint meters that have prices: tokens and other units. Reasoning tokens are part of `OUTPUT`."""

    INPUT = "input"
    CACHED_INPUT = "cached_input"
    CACHE_WRITE = "cache_write"
    AUDIO_INPUT = "audio_input"
    OUTPUT = "output"
    AUDIO_OUTPUT = "audio_output"
    IMAGES = "images"
    SPEECH_CHARACTERS = "speech_characters"
    AUDIO_SECONDS = "audio_seconds"


METERS = tuple(Meter)
INPUT_METERS = METERS[:4]
OUTPUT_METERS = METERS[4:6]
TOKEN_METERS = METERS[:6]
_UNIT_METERS = METERS[6:]
MOST_UNITS_PER_HELD = 8
"""Images, characters or seconds that upstream may state for each one that was held."""


@fact
class Usage:
    """Quantities by meter. `reasoning` is part of `output` and never added to it. Only tokens count for quotas."""

    input: int = stored("input tokens that no other meter counts", int64=True, default=0)
    cached_input: int = stored("input tokens from the prompt cache", int64=True, default=0)
    cache_write: int = stored("input tokens written to the prompt cache", int64=True, default=0)
    audio_input: int = stored("audio tokens of the input", int64=True, default=0)
    output: int = stored("output tokens, with reasoning tokens", int64=True, default=0)
    audio_output: int = stored("audio tokens of the output", int64=True, default=0)
    reasoning: int = stored("reasoning tokens, which are part of the output tokens", int64=True, default=0)
    images: int = stored("images", int64=True, default=0)
    speech_characters: int = stored("characters of speech", int64=True, default=0)
    audio_seconds: int = stored("seconds of audio, rounded up", int64=True, default=0)

    @property
    def input_tokens(self) -> int:
        """All input tokens, cached or not."""
        return self.input + self.cached_input + self.cache_write + self.audio_input

    @property
    def output_tokens(self) -> int:
        """All output tokens, reasoning included."""
        return self.output + self.audio_output

    @property
    def total_tokens(self) -> int:
        """All tokens of input and output."""
        return self.input + self.cached_input + self.cache_write + self.audio_input + self.output + self.audio_output

    @property
    def buckets(self) -> tuple[int, ...]:
        """Quantities in the order of `METERS`."""
        return (
            self.input,
            self.cached_input,
            self.cache_write,
            self.audio_input,
            self.output,
            self.audio_output,
            self.images,
            self.speech_characters,
            self.audio_seconds,
        )

    def __add__(self, other: Usage) -> Usage:
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in _FIELDS})

    def __sub__(self, other: Usage) -> Usage:
        return Usage(**{name: getattr(self, name) - getattr(other, name) for name in _FIELDS})


_FIELDS = field_names(Usage)
NOTHING_USED = Usage()


@fact
class LeastTokens:
    """The tokens that an unusable usage states all the same. An estimate is never below them."""

    input: int = 0
    output: int = 0
    combined: int = 0
    """Input and output together."""


NOTHING_STATED = LeastTokens()


def limited(usage: Usage, most_input: int, most_output: int, held: Usage) -> Usage:
    """Cut a usage to what one request can use. Returns `usage` itself if it is within these limits.

    `held` has the other units that were held; estimates of them are low by a factor of `MOST_UNITS_PER_HELD` at most.
    """
    parts: dict[str, int] = {}
    for meters, most in ((INPUT_METERS, most_input), (OUTPUT_METERS, most_output)):
        left = most
        for meter in meters:
            parts[meter] = min(getattr(usage, meter), left)
            left -= parts[meter]
    for meter in _UNIT_METERS:
        parts[meter] = min(getattr(usage, meter), MOST_UNITS_PER_HELD * getattr(held, meter))
    parts["reasoning"] = min(usage.reasoning, parts[Meter.OUTPUT])
    cut = Usage(**parts)
    return usage if cut == usage else cut


def disjoint_usage(
    *,
    prompt: int,
    completion: int,
    cached: int = 0,
    cache_write: int = 0,
    audio_in: int = 0,
    audio_out: int = 0,
    reasoning: int = 0,
) -> Usage:
    """Split overlapping totals into disjoint meters: `input = prompt - cached - cache_write - audio_in`.

    A detail that exceeds its total is cut to the rest of that total. So the meters always add up to
    `prompt + completion` and are never negative.
    """
    prompt, completion = max(0, prompt), max(0, completion)
    if reasoning:
        reasoning = _within(reasoning, completion)
    if not (cached or cache_write or audio_in or audio_out):
        return Usage(input=prompt, output=completion, reasoning=reasoning)
    cached_input = _within(cached, prompt)
    written = _within(cache_write, prompt - cached_input)
    audio_input = _within(audio_in, prompt - cached_input - written)
    audio_output = _within(audio_out, completion)
    return Usage(
        input=prompt - cached_input - written - audio_input,
        cached_input=cached_input,
        cache_write=written,
        audio_input=audio_input,
        output=completion - audio_output,
        audio_output=audio_output,
        reasoning=reasoning,
    )


def _within(part: int, combined: int) -> int:
    return min(max(0, part), combined)
