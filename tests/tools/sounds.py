"""Sound for tests."""

from __future__ import annotations

import io
import wave


def wav(seconds: float) -> bytes:
    """A silent WAV file."""
    file = io.BytesIO()
    with wave.open(file, "wb") as opened:
        opened.setnchannels(1)
        opened.setsampwidth(2)
        opened.setframerate(8000)
        opened.writeframes(b"\0\0" * int(8000 * seconds))
    return file.getvalue()
