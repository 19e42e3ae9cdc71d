"""The length of a sound by its file."""

from __future__ import annotations

import io
from typing import Final

from shared.domain.values import value

_LEAST_BYTES_PER_SECOND: Final = 750
"""Opus at 6 kbit/s. No format that upstream accepts is smaller."""
_USUAL_BYTES_PER_SECOND: Final = 4_000
"""Opus at 32 kbit/s, as browsers record it."""


@value
class Duration:
    """An estimate of a sound's length. Both numbers are the same if the file states it."""

    usual_seconds: float
    most_seconds: float


def duration(content: bytes) -> Duration:
    """Read the length of a sound from its file, or estimate it by the size of the file."""
    from tinytag import TinyTag, TinyTagException

    try:
        stated = TinyTag.get(file_obj=io.BytesIO(content), tags=False).duration
    except (TinyTagException, ValueError, OSError, LookupError, ArithmeticError):  # of damaged files
        stated = None
    if stated and stated > 0:
        return Duration(stated, stated)
    return Duration(len(content) / _USUAL_BYTES_PER_SECOND, len(content) / _LEAST_BYTES_PER_SECOND)
