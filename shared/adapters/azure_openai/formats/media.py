"""Tokens of images, sound and files in a request, bounded without looking into them.

Images: https://platform.openai.com/docs/guides/images-vision#calculating-costs. The most that an image can cost is
reserved: reading each image would cost more than a reservation that is too large for a moment. If upstream states no
usage, an image of 1024 x 1024 is charged.

Files: a PDF of some kilobytes inflates to any number of pages, each billed as text and as an image. So a file may fill
the model's context.
"""

from __future__ import annotations

import math
from base64 import b64decode
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from shared.adapters.azure_openai.formats.sound import duration
from shared.domain.inference.model_facts import context_window
from shared.domain.inference.parsed_body import NO_TOKENS, TokenEstimate
from shared.domain.values import record

_IMAGE_TYPES: Final = frozenset({"image_url", "input_image", "computer_screenshot"})
_AUDIO_TYPES: Final = frozenset({"input_audio", "audio_url"})
"""OpenAI's type of sound, and that of other servers with its API."""
_BYTES_PER_TOKEN: Final = 4
"""Characters of base64 that a token of text in a file usually takes."""
_TOKENS_OF_UNSEEN_FILE: Final = 128_000
_LONGEST_REFERENCE_CHARACTERS: Final = 512
"""A name or an address of a file is no longer than this. Longer text is the file itself."""
_USUAL_TOKENS_PER_SECOND: Final = 10
_MOST_TOKENS_PER_SECOND: Final = 20
_MARGIN_OF_SOUND: Final = 20
_USUAL_BASE: Final = 85
_USUAL_PATCHES: Final = 1_024
"""An image of 1024 x 1024 has as many."""


@record
class _Vision:
    """The tokens of one image."""

    usual: int
    most: int
    low: int
    billed_percent: int
    """The tokens that are billed for 100 tokens of the context."""


def _tiled(base: int, tile: int) -> _Vision:
    """Return the tokens of a model that cuts images into tiles of 512 pixels: usually 4, at most 8.

    A model with a dearer base than usual is billed for more tokens than its context holds.
    """
    percent = 100 * max(1, -(-base // _USUAL_BASE))
    return _Vision(usual=base + 4 * tile, most=base + 8 * tile, low=base, billed_percent=percent)


def _patched(percent: int, most_patches: int = 1_536) -> _Vision:
    """Return the tokens of a model that cuts images into patches of 32 pixels, whatever detail is asked for.

    `percent` is the number of tokens for 100 patches.
    """
    usual, most = -(-_USUAL_PATCHES * percent // 100), -(-most_patches * percent // 100)
    return _Vision(usual=usual, most=most, low=most, billed_percent=percent)


_BY_PREFIX: Final[Mapping[str, _Vision]] = {
    "gpt-4": _tiled(85, 170),
    "gpt-4o-mini": _tiled(2_833, 5_667),
    "gpt-4.1": _patched(100),
    "gpt-4.1-mini": _patched(162),
    "gpt-4.1-nano": _patched(246),
    "o1": _tiled(75, 150),
    "o3": _tiled(75, 150),
    "o4-mini": _patched(172),
    "codex-mini": _patched(172),
    "computer-use-preview": _tiled(65, 129),
    "gpt-5": _tiled(70, 140),
    "gpt-5-mini": _patched(162),
    "gpt-5-nano": _patched(246),
    "gpt-5-codex-mini": _patched(162),
    "gpt-5.": _patched(162, most_patches=10_000),
}
"""By the beginning of the model's name. The longest that matches applies."""
_UNKNOWN: Final = _patched(246, most_patches=10_000)
"""For models that are newer or others': the detail `original` has up to 10,000 patches."""


class Media:
    """The images, sounds and files of one request."""

    has_audio = False
    """Some of it is sound, which needs a price of its own."""
    # ADR 12: most requests have none, and set none of these.
    _images = _low_images = _files = _file_tokens = 0
    _sounds = NO_TOKENS
    _has_unknown = False

    def __bool__(self) -> bool:
        return bool(self._images or self._low_images or self._files or self._sounds.most or self._has_unknown)

    def add(self, part: Mapping[str, Any]) -> None:
        """Add a part of the content."""
        self.has_audio = self.has_audio or part["type"] in _AUDIO_TYPES
        if part["type"] == "input_audio" and (sound := _sound_in(part)) is not None:
            self._sounds += sound
        elif part["type"] not in _IMAGE_TYPES:
            self._files += 1
            self._file_tokens += _usual_tokens(part)
        elif _detail_of(part) == "low":
            self._low_images += 1
        else:
            self._images += 1

    def add_unknown(self) -> None:
        """Add a part of a kind that is not known. Its JSON is counted as text, and nothing bounds what it costs."""
        self._has_unknown = True

    def tokens(self, model: str) -> TokenEstimate:
        """Estimate the input tokens of all of them for a model."""
        vision = vision_of(model)
        most = self._images * vision.most + self._low_images * vision.low + self._sounds.most
        usual = self._images * vision.usual + self._low_images * min(vision.low, vision.usual) + self._sounds.usual
        if self._files:
            most_input = -(-context_window(model) * vision.billed_percent // 100)
            most += most_input
            usual += min(self._file_tokens, most_input)
        is_known = vision is not _UNKNOWN or not (self._images or self._low_images or self._files)
        return TokenEstimate(usual, most, is_bounded=is_known and not self._has_unknown)


@lru_cache(maxsize=256)
def vision_of(model: str) -> _Vision:
    """Return the tokens of images for a model."""
    matching = [prefix for prefix in _BY_PREFIX if model.lower().startswith(prefix)]
    return _BY_PREFIX[max(matching, key=len)] if matching else _UNKNOWN


def _detail_of(part: Mapping[str, Any]) -> object:
    image = part.get("image_url")
    return image.get("detail") if isinstance(image, dict) else part.get("detail")


def _sound_in(part: Mapping[str, Any]) -> TokenEstimate | None:
    """Estimate a sound by its length; `None` if nothing bounds that."""
    holder = part.get("input_audio")
    data = holder.get("data") if isinstance(holder, dict) else None
    try:
        length = duration(b64decode(data)) if isinstance(data, str) else None
    except ValueError:
        return None
    if length is None or not length.is_bounded:
        return None
    usual = math.ceil(length.usual_seconds * _USUAL_TOKENS_PER_SECOND)
    return TokenEstimate(usual, math.ceil(length.most_seconds * _MOST_TOKENS_PER_SECOND) + _MARGIN_OF_SOUND)


def _usual_tokens(part: Mapping[str, Any]) -> int:
    """Estimate a file or sound by its size; a file that is only referred to by its address as a whole context."""
    holders = [part, *(holder for holder in part.values() if isinstance(holder, dict))]
    size = max((len(text) for holder in holders for text in holder.values() if isinstance(text, str)), default=0)
    return size // _BYTES_PER_TOKEN if size > _LONGEST_REFERENCE_CHARACTERS else _TOKENS_OF_UNSEEN_FILE
