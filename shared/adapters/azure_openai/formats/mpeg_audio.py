"""The length of MPEG audio (MP3 and its older layers), counted frame by frame: ISO/IEC 11172-3 and 13818-3.

A head such as Xing's states any number of frames, and decoders play all that are there.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from shared.domain.values import value

_BITRATES: Final = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Thousand bits a second by version and layer, from the index 1 on."""
_SAMPLE_RATES: Final = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}
"""By the bits of the version."""
_HIGHEST_BYTES_PER_SECOND: Final = 40_000
"""MP3 at 320 kbit/s."""
_LOWEST_BYTES_PER_SECOND: Final = 1_000
_MOST_LOSSES: Final = 1_000
"""A file that loses the frames more often is not followed any further."""
_ID3_HEAD_BYTES: Final = 10
_ID3_VERSIONS: Final = (2, 3, 4)


@value
class MpegSeconds:
    """The length. The two differ by the bytes that are no frames."""

    usual: float
    most: float


def mpeg_seconds(content: bytes) -> MpegSeconds | None:
    """Count the seconds of all frames; `None` if the content does not begin with a tag or a frame."""
    position = _end_of_tag(content)
    if not position and _frame(content[:4]) is None:
        return None
    seconds, lost, losses, kind = 0.0, 0, 0, b""
    while position + 4 <= len(content):
        head = content[position : position + 4]
        frame = _frame(head)
        kind = kind or (_kind(head) if frame is not None else b"")
        if frame is not None and _kind(head) == kind:
            position += frame[0]
            seconds += frame[1]
            continue
        losses += 1
        following = content.find(b"\xff", position + 1) if losses <= _MOST_LOSSES else -1
        following = len(content) if following < 0 else following
        lost += following - position
        position = following
    return MpegSeconds(seconds + lost / _HIGHEST_BYTES_PER_SECOND, seconds + lost / _LOWEST_BYTES_PER_SECOND)


def _end_of_tag(content: bytes) -> int:
    """Return the offset behind the ID3 tag, which is no sound; 0 if there is none, its head alone if it is malformed.

    Players take a tag that is malformed for sound, and play what is in it: https://id3.org/id3v2.4.0-structure.
    """
    if not content.startswith(b"ID3") or len(content) < _ID3_HEAD_BYTES:
        return 0
    major, minor, flags, *sizes = content[3:_ID3_HEAD_BYTES]
    if major not in _ID3_VERSIONS or minor == 0xFF or flags & 0x0F or max(sizes) > 0x7F:
        return _ID3_HEAD_BYTES
    size = 0
    for byte in sizes:  # each has seven bits of the size
        size = size << 7 | byte
    end = _ID3_HEAD_BYTES + size
    return end if end < len(content) else _ID3_HEAD_BYTES


def _kind(head: bytes) -> bytes:
    """Return version, layer and sample rate. All frames of a file share them: players skip a frame of another kind."""
    return bytes((head[1] & 0xFE, head[2] & 0x0C))


@lru_cache(maxsize=1024)
def _frame(head: bytes) -> tuple[int, float] | None:
    """Return the bytes and seconds of a frame by its head; `None` if it is no head of a frame."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer, rate, sampling = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3), head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or rate in (0, 15) or sampling == 3:
        return None
    is_first = version == 3
    bitrate = _BITRATES[1 if is_first else 2, layer][rate - 1] * 1_000
    sample_rate, padding = _SAMPLE_RATES[version][sampling], head[2] >> 1 & 1
    if layer == 1:
        return (12 * bitrate // sample_rate + padding) * 4, 384 / sample_rate
    samples = 1_152 if is_first or layer == 2 else 576
    return samples // 8 * bitrate // sample_rate + padding, samples / sample_rate
