"""How long a sound is, by its file."""

from __future__ import annotations

import io
from typing import Final

_LEAST_BYTES_PER_SECOND: Final = 750
"""Opus at 6 kbit/s: nothing that upstream takes is smaller."""
_USUAL_BYTES_PER_SECOND: Final = 4_000
"""Opus at 32 kbit/s, as browsers record it."""


def duration(content: bytes, filename: str) -> tuple[float, float]:
    """Seconds of sound in a file: what it probably is and what it is at most. Both are the same where the file says."""
    from tinytag import TinyTag, TinyTagException

    try:
        stated = TinyTag.get(filename=filename, file_obj=io.BytesIO(content), tags=False).duration
    except (TinyTagException, ValueError, OSError, LookupError, ArithmeticError):
        stated = None
    if stated and stated > 0:
        return stated, stated
    return len(content) / _USUAL_BYTES_PER_SECOND, len(content) / _LEAST_BYTES_PER_SECOND
