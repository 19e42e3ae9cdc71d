"""A file that lies about its length is charged for what is played."""

from __future__ import annotations

import io
import json
import struct

import aiohttp
import pytest

from shared.adapters.azure_openai.formats.all_formats import FORMATS
from shared.adapters.azure_openai.formats.sound import Duration, duration
from shared.domain.errors import BackendBroken
from shared.domain.inference.parsed_body import Completion, ParsedBody
from shared.domain.pricing.usage import Usage
from tests.tools.sounds import MP3_FRAME, mp3, wav, wav_that_claims
from tests.tools.stack import Stack

FRAME_SECONDS = 1_152 / 44_100


def form(content: bytes, shape: str) -> aiohttp.FormData:
    data = aiohttp.FormData()
    data.add_field("response_format", shape)
    data.add_field("file", io.BytesIO(content), filename="short.bin", content_type="audio/mpeg")
    return data


@pytest.mark.parametrize("shape", ["json", "text", "srt", "vtt", "verbose_json"])
@pytest.mark.parametrize(
    ("content", "seconds"),
    [
        (wav_that_claims(1, seconds=50), 50),
        (wav_that_claims(0, seconds=50), 50),
        (wav_that_claims(200_000, seconds=50), 50),
        (mp3(frames=1_900, claimed_frames=38), 50),
        (b"ID3\x04\x00\x00\x7f\x7f\x7f\x7f" + mp3(frames=1_900, claimed_frames=38), 50),
    ],
    ids=["wav-1s", "wav-0s", "wav-long", "xing", "tag-without-end"],
)
async def test_the_head_of_a_file_sets_no_price(stack: Stack, content: bytes, seconds: int, shape: str) -> None:
    status, _, _ = await stack.infer("audio/transcriptions", "whisper", form=form(content, shape))
    await stack.settled()
    (entry,) = await stack.entries()
    assert status == 200
    assert entry["usage"]["audio_seconds"] == pytest.approx(seconds, abs=1)
    assert float(entry["reserved_usd"]) >= float(entry["cost_usd"])


async def test_a_request_that_nobody_answers_is_charged_for_what_is_played(stack: Stack) -> None:
    await stack.fault(kind="refuse")
    await stack.infer("audio/transcriptions", "whisper", form=form(wav_that_claims(1, seconds=50), "json"))
    await stack.settled()
    (entry,) = await stack.entries()
    assert (entry["error_code"], entry["usage"]["audio_seconds"]) == ("backend_error", 50)


async def test_only_whisper_is_asked_for_another_form(stack: Stack) -> None:
    for model, asked in (("whisper", "verbose_json"), ("gpt-4o-transcribe", "json")):
        status, headers, body = await stack.infer("audio/transcriptions", model, form=form(wav(2), "json"))
        record = (await stack.requests())[-1]
        assert (status, record["body"]["response_format"]) == (200, asked)
        assert headers["content-type"].startswith("application/json")
        assert int(headers["content-length"]) == len(body)
        assert "segments" not in json.loads(body)


async def test_the_form_that_is_left_out_is_json(stack: Stack) -> None:
    data = aiohttp.FormData()
    data.add_field("file", io.BytesIO(wav(2)), filename="a.wav")
    _, _, body = await stack.infer("audio/transcriptions", "whisper", form=data)
    (record,) = await stack.requests()
    assert (record["body"]["response_format"], list(json.loads(body))) == ("verbose_json", ["text"])


def fmt(
    code: int = 1, channels: int = 1, rate: int = 8_000, stated: int = 16_000, block: int = 2, more: bytes = b""
) -> bytes:
    fields = struct.pack("<HHIIHH", code, channels, rate, stated, block, 16) + more
    return b"fmt " + struct.pack("<I", len(fields)) + fields


def wave_of(*formats: bytes) -> bytes:
    return b"RIFF\0\0\0\0WAVE" + b"".join(formats) + b"data" + struct.pack("<I", 16_000)


def head(code: int = 1, channels: int = 1, rate: int = 8_000, stated: int = 16_000, block: int = 2) -> bytes:
    return wave_of(fmt(code, channels, rate, stated, block))


def extensible(code: int, rate: int) -> bytes:
    """A format whose code stands in its sub-format."""
    guid = struct.pack("<H", code) + b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"
    return wave_of(fmt(0xFFFE, 1, rate, 2 * rate, more=b"\x16\0\x10\0\4\0\0\0" + guid))


DATA = bytes(160_000)
FAST = fmt(rate=192_000, stated=384_000)
PLAYED = mp3(frames=100, claimed_frames=100)
FRAMES = 101 * FRAME_SECONDS


def tagged(version: bytes, *sizes: int) -> bytes:
    """A tag that claims to be as large as 90 frames, and frames that are inside it for whoever ignores it."""
    return b"ID3" + version + bytes(sizes) + PLAYED


@pytest.mark.parametrize(
    ("content", "usual"),
    [
        (head() + DATA, 10),
        (head(block=1) + DATA, 20),  # of contradicting fields, the longest sound counts
        (head(channels=4, block=2) + DATA, 10),
        (head(rate=4_000_000_000, stated=4_294_967_295) + DATA, 160_044 / 1_536_000),
        (head(code=2) + DATA, 160_044 / 4_000),  # compressed: the size decides
        (head(rate=0) + DATA, 160_044 / 4_000),
        (head()[:30] + DATA, 160_030 / 4_000),
        (b"RIFF\0\0\0\0WAVEfmt \x01\0\0\0", 20 / 4_000),
        (b"fLaC\x80\0\0\x22" + bytes(10) + b"\x0a\xc4\x42\xf0\0\0\xac\x44" + bytes(16) + DATA * 20, 25 / 12),
        (MP3_FRAME * 100, 100 * FRAME_SECONDS),
        (MP3_FRAME * 50 + bytes(1_000) + MP3_FRAME * 50, 100 * FRAME_SECONDS + 1_000 / 40_000),
        (MP3_FRAME * 50 + bytes(40_000), 50 * FRAME_SECONDS + 1),
        (MP3_FRAME + b"\xff\x00" * 40_000, FRAME_SECONDS + 2),
        (b"ID3\x04\0\0\0\0\0\x64" + b"\xff\xfb\x90\x00" * 25 + MP3_FRAME * 100, 100 * FRAME_SECONDS),
        (b"\xff\xff\x90\x00" + bytes(100) , FRAME_SECONDS * 384 / 1_152),
        (wave_of(fmt(), FAST) + DATA, 10),  # of two formats, the longer sound counts
        (wave_of(FAST, fmt()) + DATA, 10),
        (wave_of(fmt(code=2), FAST) + DATA, 160_068 / 1_536_000),
        (extensible(code=1, rate=8_000) + DATA, 10),
        (extensible(code=0x55, rate=192_000) + DATA, 160_068 / 4_000),  # MPEG audio inside WAV
        (tagged(b"\4\0\0", 0x80, 2, 0x12, 0x52), FRAMES),  # players ignore malformed tags, and play all
        (tagged(b"\4\0\1", 0, 2, 0x12, 0x52), FRAMES),
        (tagged(b"\xff\0\0", 0, 2, 0x12, 0x52), FRAMES),
        (tagged(b"\3\xff\0", 0, 2, 0x12, 0x52), FRAMES),
        (b"\xff\xf3\x10\x00" + bytes(22), 576 / 22_050),
        (b"\xff\xeb\x90\x00" + bytes(396), 400 / 4_000),  # heads with reserved values are no frames
        (b"\xff\xfb\xf0\x00" + bytes(396), 400 / 4_000),
    ],
)  # fmt: skip
def test_bytes_bound_the_length_from_below(content: bytes, usual: float) -> None:
    found = duration(content)
    assert found.usual_seconds == pytest.approx(usual, rel=0.002)
    assert found.most_seconds >= found.usual_seconds * 0.99


STREAM_INFO = b"\x80\0\0\x22" + bytes(10) + b"\x0a\xc4\x42\xf0\0\0\xac\x44" + bytes(16)


def test_a_file_of_a_million_parts_is_not_read_to_its_end() -> None:
    junk = b"junk\0\0\0\0"
    assert duration(head()[:12] + junk * 900 + head()[12:] + DATA) == Duration(10, 10, is_bounded=True)
    many = duration(head()[:12] + junk * 60_000 + head()[12:] + DATA)
    assert (many.usual_seconds, many.is_bounded) == (640_044 / 4_000, False)
    assert duration(b"fLaC" + b"\x01\0\0\0" * 1_000 + STREAM_INFO).usual_seconds == 1
    assert duration(b"fLaC" + b"\x01\0\0\0" * 60_000 + STREAM_INFO).usual_seconds == 240_042 / 4_000


def test_frames_that_players_skip_hide_none_of_those_that_they_play() -> None:
    large = b"\xff\xff\xe4\x00"  # layer 1, 448 kbit/s and 48 kHz: 448 bytes and 8 ms
    small = (b"\xff\xf3\x10\x00" + bytes(22)) * 16  # 16 frames of 8 kbit/s inside each large one
    found = duration(small + (large + small[4:] + bytes(32)) * 100)
    assert found.most_seconds >= 101 * 16 * 576 / 22_050


def test_a_length_that_nothing_bounds_is_said_to_be_so() -> None:
    assert duration(b"\x1aE\xdf\xa3" + bytes(7_496)) == Duration(7_500 / 4_000, 10, is_bounded=False)
    assert duration(b"") == Duration(0, 0, is_bounded=False)
    assert duration(wav(3)) == Duration(3, 3, is_bounded=True)


def read(shape: str, body: bytes) -> Completion:
    asked = ParsedBody(
        raw=b"", content_type="", model=None, answer_form=shape, usual_units=Usage(audio_seconds=3), units=Usage()
    )
    return FORMATS["audio/transcriptions"].read_completion(asked, body)


def test_subtitles_show_that_a_sound_is_longer_than_its_file_says() -> None:
    subtitles = b"1\n00:00:00,000 --> 00:01:02,500\nHi\n\n2\n00:01:03,000 --> 00:01:09,000\nHo\n"
    assert read("srt", subtitles).units == Usage(audio_seconds=69)
    assert read("vtt", b"WEBVTT\n\n01:02.500 --> 01:09.000\nHi\n").units == Usage(audio_seconds=69)
    assert read("srt", b"1\n00:00:00,000 --> 00:00:01,500\nHi\n").units == Usage()
    assert read("text", b"--> 01:00:00").units == Usage()


def test_a_text_may_look_like_json() -> None:
    assert read("text", b"{not json").texts == ["{not json"]
    for body in (b"{not json", b"not json"):
        with pytest.raises(BackendBroken):
            read("json", body)


async def test_a_sound_in_a_chat_holds_the_seconds_that_are_played(stack: Stack) -> None:
    from base64 import b64encode

    row = {"model": "gpt-4o", "meter": "audio_input", "usd_per_million": "40", "effective_from": "2024-01-01T00:00:00Z"}
    await stack.manage("POST", "/manage/prices", row)
    held = []
    for content in (wav(20), wav_that_claims(1, seconds=20), b"OggS" + bytes(1_000), b""):
        part = {"type": "input_audio", "input_audio": {"data": b64encode(content).decode() or "A", "format": "wav"}}
        await stack.chat(messages=[{"role": "user", "content": [part]}], max_tokens=5)
        await stack.settled()
        held.append((await stack.entries())[-1]["reserved_tokens"])
    assert held[0] == held[1] >= 20 * 20
    assert held[0] < 1_000
    assert min(held[2:]) >= 128_000
