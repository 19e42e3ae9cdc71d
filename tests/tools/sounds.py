"""Sound for tests."""

from __future__ import annotations

import io
import struct
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


def wav_that_claims(stated: float, seconds: float) -> bytes:
    """A WAV file whose head states another length than its data has."""
    whole = wav(seconds)
    place = whole.index(b"data") + 4
    return whole[:place] + struct.pack("<I", int(16_000 * stated)) + whole[place + 4 :]


MP3_FRAME = b"\xff\xfb\x90\x00" + bytes(413)
"""A frame of 128 kbit/s and 44.1 kHz: 417 bytes, 26 ms."""


def mp3(frames: int, claimed_frames: int) -> bytes:
    """An MP3 file whose first frame states the number of the others, in Xing's way."""
    head = MP3_FRAME[:36] + b"Xing" + struct.pack(">II", 1, claimed_frames)
    return head + MP3_FRAME[len(head) :] + MP3_FRAME * frames
