"""Upper bounds for what images, sounds and files in a request cost in tokens.

Images: https://platform.openai.com/docs/guides/images-vision#calculating-costs. The most that an image can be is held,
because looking into each would cost a request more than a reservation that is too large for a moment; where upstream
states no usage, an image of 1024 x 1024 is charged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_IMAGE: Final = (765, 3_779)
"""85 + 4 tiles of 170; at most 1,536 patches at 2.46 tokens."""
_IMAGE_OF_4O_MINI: Final = (25_501, 48_169)
"""2,833 + 4 tiles of 5,667; at most 8 tiles."""
_IMAGE_OF_LOW_DETAIL: Final = (85, 2_833)
_BYTES_PER_TOKEN: Final = 4
"""Text in a file has at least so many bytes a token once it is base64, and a second of sound more."""
_TOKENS_OF_UNSEEN_FILE: Final = 128_000
_LONGEST_REFERENCE: Final = 512
"""Characters of a file's id, name or address."""


def image_tokens(model: str, detail: object) -> tuple[int, int]:
    """What one image usually is in a model's input, and the most that it can be."""
    if detail == "low":
        return _IMAGE_OF_LOW_DETAIL
    return _IMAGE_OF_4O_MINI if "4o-mini" in model else _IMAGE


def file_tokens(part: Mapping[str, Any]) -> tuple[int, int]:
    """The same for a file or sound that is sent along: by its size, or as much as a model takes."""
    sizes = [len(text) for holder in part.values() if isinstance(holder, dict) for text in holder.values()
             if isinstance(text, str)]  # fmt: skip
    stated = max([*sizes, *(len(text) for text in part.values() if isinstance(text, str))], default=0)
    tokens = stated // _BYTES_PER_TOKEN if stated > _LONGEST_REFERENCE else _TOKENS_OF_UNSEEN_FILE
    return tokens, tokens
