"""The formats of the operations read requests and answers. No backend is involved."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shared.adapters.azure_openai.formats.all_formats import FORMATS
from shared.adapters.azure_openai.formats.findings import findings
from shared.adapters.azure_openai.formats.images import ImageReader
from shared.adapters.azure_openai.formats.responses import ResponseReader
from shared.adapters.azure_openai.formats.transcriptions import TranscriptReader
from shared.domain.content_filter import Severity, findings_from_text, findings_text, refused_categories
from shared.domain.inference.parsed_body import Completion, ParsedBody, TokenEstimate
from shared.domain.pricing.usage import Usage

JSON = "application/json"


def request(operation: str, **fields: Any) -> ParsedBody:
    return FORMATS[operation].read_request(json.dumps(fields).encode(), JSON)


def completion(operation: str, **fields: Any) -> Completion:
    asked = ParsedBody(raw=b"{}", content_type=JSON, model=None, units=Usage(speech_characters=4))
    return FORMATS[operation].read_completion(asked, json.dumps(fields).encode())


def media(part: dict[str, Any], model: str) -> tuple[int, int]:
    """Return the usual and the highest number of tokens of one part of a message."""
    read = request("chat/completions", messages=[{"role": "user", "content": [part]}])
    assert read.media is not None
    tokens = read.media(model)
    return tokens.usual, tokens.most


@pytest.mark.parametrize(
    ("model", "detail", "tokens"),
    [
        ("gpt-4o", "auto", (765, 1_445)),
        ("gpt-4o-2024-11-20", "low", (85, 85)),
        ("GPT-4o-mini", None, (25_501, 48_169)),
        ("gpt-4o-mini", "low", (2_833, 2_833)),
        ("gpt-4.1-nano", "low", (2_520, 3_779)),
        ("o3", "high", (675, 1_275)),
        ("gpt-5", "high", (630, 1_190)),
        ("gpt-5.4", "original", (1_659, 16_200)),
        ("some-other-model", "original", (2_520, 24_600)),
    ],
)
def test_the_hold_of_an_image_follows_the_model(model: str, detail: str | None, tokens: tuple[int, int]) -> None:
    assert media({"type": "image_url", "image_url": {"url": "x", "detail": detail}}, model) == tokens


@pytest.mark.parametrize(
    ("part", "tokens"),
    [
        ({"type": "image_url", "image_url": "https://x.invalid"}, (765, 1_445)),
        ({"type": "input_audio", "input_audio": {"data": "A" * 4_000, "format": "wav"}}, (1_000, 131_072)),
        ({"type": "file", "file": {"file_data": "A" * 4_000_000}}, (131_072, 131_072)),
        ({"type": "file", "file": 7}, (128_000, 131_072)),
    ],
)
def test_the_hold_of_media_is_the_most_they_can_cost(part: dict[str, Any], tokens: tuple[int, int]) -> None:
    assert media(part, "gpt-4o") == tokens


def test_a_part_without_text_or_media_holds_nothing() -> None:
    read = request("chat/completions", messages=[{"content": [{"type": "text", "text": ""}]}])
    assert (read.media, list(read.texts)) == (None, [])


def test_tokens_are_held_for_media_in_responses() -> None:
    parts = [{"type": "input_image", "detail": "low"}, {"type": "input_file", "file_data": "A" * 4_000}]
    read = request("responses", model="m", input=[{"role": "user", "content": parts}])
    assert read.media is not None
    assert read.media("gpt-4o") == TokenEstimate(85 + 1_000, 85 + 131_072)


@pytest.mark.parametrize(
    ("fields", "usage"),
    [
        ({}, None),
        ({"usage": {"input_tokens": 3, "output_tokens": 2}}, Usage(input=3, output=2)),
        (
            {
                "usage": {
                    "input_tokens": 9,
                    "input_tokens_details": {"cached_tokens": 4},
                    "output_tokens": 5,
                    "output_tokens_details": {"reasoning_tokens": 3},
                }
            },
            Usage(input=5, cached_input=4, output=5, reasoning=3),
        ),
    ],
)
def test_usage_of_responses_is_split_into_meters(fields: dict[str, Any], usage: Usage | None) -> None:
    assert completion("responses", **fields).usage == usage


def test_rejected_predictions_count_as_output() -> None:
    details = {"accepted_prediction_tokens": 3, "rejected_prediction_tokens": 4, "reasoning_tokens": 0}
    usage = {"prompt_tokens": 5, "completion_tokens": 10, "completion_tokens_details": details}
    assert completion("chat/completions", usage=usage, choices=[]).usage == Usage(input=5, output=10)


def test_the_texts_of_a_response_include_all_generated_text() -> None:
    output = [
        {"type": "message", "content": [{"type": "output_text", "text": "a"}, {"refusal": "b"}, "odd"]},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "c"}]},
        {"type": "function_call", "arguments": "d"},
        {"type": "custom_tool_call", "input": "e"},
        7,
    ]
    assert list(completion("responses", output=output).texts) == ["abodd", "c", "d", "e"]


def test_transcripts_priced_by_duration_state_seconds() -> None:
    read = completion("audio/transcriptions", text="hi", usage={"type": "duration", "seconds": 2.1})
    assert (read.usage, read.units, read.texts) == (None, Usage(audio_seconds=3), ["hi"])
    assert completion("audio/transcriptions", text="hi", duration="7").units == Usage()


def test_speech_is_counted_by_the_characters_of_the_request() -> None:
    assert completion("audio/speech").units == Usage(speech_characters=4)


def test_an_event_name_within_a_text_has_no_effect() -> None:
    for reader, mark in ((TranscriptReader(), "transcript.text.done"), (ResponseReader(), "response.completed")):
        event = f'data: {{"type":"x.delta","delta":"{mark}","item_id":"i"}}\n\n'.encode()
        odd = f"data: {mark}\n\n".encode()
        assert reader.feed(event) == event
        assert reader.feed(odd) == odd
        assert (reader.ended, list(reader.texts(event + odd + b': x\n\ndata: {"delta":7}\n\n'))) == (False, [mark])


def test_the_end_of_a_stream_may_state_no_usage() -> None:
    reader = TranscriptReader()
    assert reader.feed(b'data: {"type":"transcript.text.done","text":"hi"}\n\n') == b""
    assert (reader.ended, reader.usage) == (True, None)


@pytest.mark.parametrize("mark", ["response.created", "image_generation.completed"])
def test_an_event_that_is_not_the_last_ends_no_stream(mark: str) -> None:
    for reader in (ResponseReader(), ImageReader(1)):
        event = f'data: {{"type":"odd","note":"{mark}"}}\n\n'.encode()
        assert reader.feed(event) == event
        assert (reader.ended, reader.usage) == (False, None)


def test_an_error_ends_a_response() -> None:
    reader = ResponseReader()
    event = b'event: error\ndata: {"type":"error","code":"server_error"}\n\n'
    assert reader.feed(event) == b""
    assert (reader.ended, reader.ending()) == (True, event)


def test_safe_categories_are_no_findings() -> None:
    results = {
        "hate": {"filtered": False, "severity": "safe"},
        "violence": {"filtered": True, "severity": "high"},
        "jailbreak": {"detected": True, "filtered": False},
        "error": {"code": "content_filter_error"},
        "odd": 7,
    }
    found = list(findings(results))
    assert findings_text(found) == "jailbreak:detected,violence:filtered,violence:high"
    assert (findings_from_text(findings_text(found)), findings_from_text("")) == (sorted(found), [])
    assert refused_categories({"a:low", "b:medium", "c:high", "d:detected"}, Severity.MEDIUM) == ["b", "c", "d"]
