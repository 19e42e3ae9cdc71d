"""The length of a sound by its file.

A header that states a length may be forged: a decoder plays what is there. So the frames of MPEG audio and the bytes of
WAV are counted. For other formats, the bytes bound the stated length from below by the format's highest bit rate.
"""

from __future__ import annotations

import io
import struct
from typing import Final

from shared.adapters.azure_openai.formats.mpeg_audio import mpeg_seconds
from shared.domain.values import value

_LEAST_BYTES_PER_SECOND: Final = 750
"""Opus at 6 kbit/s. Only silence is smaller."""
_USUAL_BYTES_PER_SECOND: Final = 4_000
"""Opus at 32 kbit/s, as browsers record it."""
_OPUS_OR_VORBIS_BYTES_PER_SECOND: Final = 64_000
"""The highest rate of Opus is 510 kbit/s: RFC 6716, section 2.1.1. Vorbis in stereo has less."""
_LOSSLESS_BYTES_PER_SECOND: Final = 1_536_000
"""192 kHz in stereo, with 4 bytes a sample. MP4 may contain lossless sound."""
_HIGHEST_RATES: Final = (
    (0, b"fLaC", _LOSSLESS_BYTES_PER_SECOND),
    (8, b"WAVE", _LOSSLESS_BYTES_PER_SECOND),
    (4, b"ftyp", _LOSSLESS_BYTES_PER_SECOND),
    (28, b"\x7fFLAC", _LOSSLESS_BYTES_PER_SECOND),
    (0, b"OggS", _OPUS_OR_VORBIS_BYTES_PER_SECOND),
)
"""By a mark of the format at an offset."""
_MOST_CHUNKS: Final = 1_000
"""Chunks before the data of a WAV. A file with more of them is not followed any further."""
_MOST_STEPS: Final = 100_000
"""Reads and jumps within one file. An hour of Opus in pages of 20 kB takes some thousand."""
_UNCOMPRESSED: Final = frozenset({1, 3, 6, 7})
"""Codes of WAV for samples of a fixed size: integers, floats, A-law and mu-law."""
_EXTENSIBLE: Final = 0xFFFE
"""The code stands in the sub-format, behind the fields that every format has."""


@value
class Duration:
    """An estimate of a sound's length."""

    usual_seconds: float
    most_seconds: float
    is_bounded: bool
    """The sound cannot be longer than `most_seconds`."""


def duration(content: bytes) -> Duration:
    """Read the length of a sound from its file, or estimate it by the size of the file."""
    seconds = _wave_seconds(content)
    if seconds is not None:
        seconds = max(seconds, len(content) / _LOSSLESS_BYTES_PER_SECOND)
        return Duration(seconds, seconds, is_bounded=True)
    known = mpeg_seconds(content)
    if known is not None:
        return Duration(known.usual, known.most, is_bounded=True)
    most = len(content) / _LEAST_BYTES_PER_SECOND
    stated = _stated_seconds(content)
    if stated is None:
        return Duration(len(content) / _USUAL_BYTES_PER_SECOND, most, is_bounded=False)
    highest = [rate for offset, mark, rate in _HIGHEST_RATES if content.startswith(mark, offset)]
    least = len(content) / highest[0] if highest else 0.0
    return Duration(max(stated, least), max(stated, most), is_bounded=False)


def _wave_seconds(content: bytes) -> float | None:
    """Return the length of a WAV with samples of a fixed size: all bytes behind the head of its data are played."""
    if content[:4] not in (b"RIFF", b"RF64") or content[8:12] != b"WAVE":
        return None
    position, rates = 12, list[int]()
    for _ in range(_MOST_CHUNKS):
        if position + 8 > len(content):
            break
        name, size = struct.unpack_from("<4sI", content, position)
        position += 8
        if name == b"data" and rates:  # of two formats, players take the first or the last
            return (len(content) - position) / min(rates) if min(rates) else None
        if name == b"fmt ":
            rates.append(_wave_rate(content[position : position + min(size, 26)]))
        position += size + size % 2
    return None


def _wave_rate(head: bytes) -> int:
    """Return the bytes of a second; 0 if they are not certain. Of contradicting fields, the longest sound counts."""
    if len(head) < 16:
        return 0
    code, channels, samples, stated, block, bits = struct.unpack_from("<HHIIHH", head)
    if code == _EXTENSIBLE:
        code = int.from_bytes(head[24:26], "little")
    rates = (samples * block, samples * channels * -(-bits // 8), stated)
    return min(rates) if code in _UNCOMPRESSED else 0


class _BoundedFile(io.BytesIO):
    """A file that breaks after a number of steps, because a reader of hostile files may take millions."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self._steps_left = _MOST_STEPS

    def read(self, size: int | None = -1, /) -> bytes:
        """Read as every file does. Raises `OSError` after too many steps."""
        self._step()
        return super().read(size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Jump as every file does. Raises `OSError` after too many steps."""
        self._step()
        return super().seek(offset, whence)

    def _step(self) -> None:
        self._steps_left -= 1
        if self._steps_left < 0:
            raise OSError("The file takes too many steps.")


def _stated_seconds(content: bytes) -> float | None:
    """Return the length that the head of the file states; `None` if there is none."""
    from tinytag import TinyTag, TinyTagException

    try:
        stated = TinyTag.get(file_obj=_BoundedFile(content), tags=False).duration
    except (TinyTagException, ValueError, OSError, LookupError, ArithmeticError):  # of damaged files
        return None
    return stated if stated and stated > 0 else None
