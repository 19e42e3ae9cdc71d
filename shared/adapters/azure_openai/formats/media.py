"""Tokens of images, audio and files in a request, estimated without looking into them.

Images: https://platform.openai.com/docs/guides/images-vision#calculating-costs. The most that an image can cost is
reserved: reading each image would cost more than a reservation that is too large for a moment. If upstream states no
usage, an image of 1024 x 1024 is charged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from shared.domain.values import value


@value
class TokenEstimate:
    """An estimate of input tokens."""

    usual: int
    """Charged if upstream states no usage."""
    most: int
    """Reserved."""

    def __add__(self, other: TokenEstimate) -> TokenEstimate:
        return TokenEstimate(self.usual + other.usual, self.most + other.most)


NO_TOKENS: Final = TokenEstimate(0, 0)
_IMAGE: Final = TokenEstimate(usual=765, most=3_779)
"""Usually 85 and 4 tiles of 170; at most 1,536 patches of 2.46 tokens."""
_IMAGE_OF_4O_MINI: Final = TokenEstimate(usual=25_501, most=48_169)
"""Usually 2,833 and 4 tiles of 5,667; at most 8 tiles."""
_IMAGE_OF_LOW_DETAIL: Final = TokenEstimate(usual=85, most=2_833)
_BYTES_PER_TOKEN: Final = 4
"""The fewest bytes of base64 that a token of text in a file takes. A token of audio takes more."""
_TOKENS_OF_UNSEEN_FILE: Final = 128_000
"""The context of a model, for a file that is only referred to."""
_LONGEST_REFERENCE_CHARACTERS: Final = 512
"""An id, a name or an address of a file is no longer than this. Longer text is the file itself."""


def image_tokens(model: str, detail: object) -> TokenEstimate:
    """Estimate the input tokens of one image. `detail` is the caller's."""
    if detail == "low":
        return _IMAGE_OF_LOW_DETAIL
    return _IMAGE_OF_4O_MINI if "4o-mini" in model else _IMAGE


def file_tokens(part: Mapping[str, Any]) -> TokenEstimate:
    """Estimate the input tokens of a file or audio by its size; a file that is only referred to fills the context."""
    sizes = [len(text) for holder in part.values() if isinstance(holder, dict) for text in holder.values()
             if isinstance(text, str)]  # fmt: skip
    size = max([*sizes, *(len(text) for text in part.values() if isinstance(text, str))], default=0)
    tokens = size // _BYTES_PER_TOKEN if size > _LONGEST_REFERENCE_CHARACTERS else _TOKENS_OF_UNSEEN_FILE
    return TokenEstimate(tokens, tokens)
