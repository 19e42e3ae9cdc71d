"""The format of chat answers: streams cut anywhere, endings, findings, usage, and malformed bodies."""

from __future__ import annotations

import json
import warnings
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.adapters.azure_openai.formats.chat import ChatCompletions
from shared.adapters.azure_openai.formats.choices import ChoiceReader
from shared.adapters.azure_openai.tokenizer import SplintrTokenizer
from shared.domain.errors import BackendBroken, InvalidRequest
from shared.domain.inference.parsed_body import Completion, ParsedBody
from shared.domain.pricing.usage import Usage
from shared.domain.routing.catalog import Backend, Deployment, Route


@cache
def oracle(vocabulary: str) -> Any:
    """Return an independent tokenizer of the same vocabularies. Its import warns of a deprecated API."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from bpe_openai import _bindings

        return _bindings.tokenizer_for_encoding(vocabulary)


SAFE = {"hate": {"filtered": False, "severity": "safe"}}
HATE = {"hate": {"filtered": True, "severity": "high"}, "jailbreak": {"detected": True}}
USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


ROUTE = Route(
    Deployment(name="chat", backends=("b",)),
    Backend(backend_id="b", endpoint="https://b", upstream_deployment="gpt-4o", model="gpt-4o", region="swedencentral"),
)


def read_request(body: bytes) -> ParsedBody:
    return ChatCompletions().read_request(body, "application/json")


def read_completion(body: bytes) -> Completion:
    return ChatCompletions().read_completion(read_request(b'{"messages":[{}]}'), body)


def event(newline: str = "\n", **fields: Any) -> bytes:
    return f"data: {json.dumps(fields, separators=(',', ':'), ensure_ascii=False)}{newline}{newline}".encode()


def delta(text: str, verdicts: Any = None, newline: str = "\n") -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "content_filter_results": verdicts or SAFE}
    return event(newline, choices=[choice], usage=None)


def stream(newline: str = "\n") -> list[bytes]:
    return [
        event(newline, choices=[], prompt_filter_results=[{"prompt_index": 0, "content_filter_results": SAFE}]),
        delta("Grüße, \u2028 ", newline=newline),
        f": a comment{newline}{newline}".encode(),
        delta('"usage": {"x"} [DONE]', HATE, newline=newline),
        event(newline, choices=[], usage=USAGE),
        f"data: [DONE]{newline}{newline}".encode(),
    ]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("releases_usage", [True, False])
@given(cuts=st.lists(st.integers(0, 900), max_size=8))
def test_a_stream_passes_whole_however_it_is_cut(newline: str, releases_usage: bool, cuts: list[int]) -> None:
    events = stream(newline)
    whole = b"".join(events)
    reader = ChoiceReader(releases_usage=releases_usage)
    places = sorted({0, len(whole), *(min(cut, len(whole)) for cut in cuts)})
    released = [reader.feed(whole[start:end]) for start, end in pairwise(places)]
    kept = events if releases_usage else events[:4] + events[5:]
    assert b"".join(released) == b"".join(kept[:-1])
    assert all(chunk.endswith(newline.encode() * 2) for chunk in released if chunk)
    assert reader.ending() == events[-1]
    assert (reader.usage, reader.ended) == (Usage(input=5, output=2), True)
    assert reader.findings == {"hate:filtered", "hate:high", "jailbreak:detected"}
    assert reader.texts(b"".join(released)) == ['Grüße, \u2028 "usage": {"x"} [DONE]']


def test_events_after_done_are_withheld_with_it() -> None:
    reader = ChoiceReader(releases_usage=True)
    assert reader.feed(b"data: [DONE]\n\n: bye\n\n") == b""
    assert reader.feed(b": really\n\n") == b""
    assert reader.ending() == b"data: [DONE]\n\n: bye\n\n: really\n\n"


def test_an_event_that_never_ends_is_withheld() -> None:
    reader = ChoiceReader(releases_usage=True)
    assert reader.feed(b'data: {"choices":') == b""
    assert reader.feed(b"[") == b""
    assert reader.ending() == b'data: {"choices":['


def test_usage_in_an_event_with_a_choice_is_passed_on_and_read() -> None:
    reader = ChoiceReader(releases_usage=False)
    last = event(choices=[{"index": 0, "delta": {}}], usage=USAGE)
    assert reader.feed(last) == last
    assert reader.usage == Usage(input=5, output=2)


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": ")])
def test_findings_in_the_middle_of_a_stream_are_read(separators: tuple[str, str]) -> None:
    reader = ChoiceReader(releases_usage=False)
    for results in (SAFE, {"a": {"detected": True}}, {"b": {"severity": "medium"}}, {"c": {"filtered": True}}):
        chunk = {"choices": [{"index": 0, "content_filter_results": results}]}
        sent = f"data: {json.dumps(chunk, separators=separators)}\n\n".encode()
        assert reader.feed(sent) == sent
    assert reader.findings == {"a:detected", "b:medium", "c:filtered"}


def test_a_malformed_event_with_findings_passes() -> None:
    reader = ChoiceReader(releases_usage=False)
    odd = b'data: {"filtered":true\n\ndata: "completion_tokens" not json\n\n'
    assert reader.feed(odd) == odd
    assert reader.findings == set()


def test_texts_are_collected_by_choice_with_tool_calls_and_refusals() -> None:
    body = json.dumps(
        {
            "choices": [
                {"index": 1, "message": {"content": None, "refusal": "No."}},
                {
                    "index": 0,
                    "message": {
                        "content": "Yes",
                        "tool_calls": [1, {"function": {"name": "answer", "arguments": "{}"}}],
                    },
                },
                {"index": 2},
            ]
        }
    ).encode()
    completion = read_completion(body)
    assert completion.usage is None
    assert sorted(completion.texts) == ["No.", "Yesanswer{}"]


def test_usage_details_are_split_into_meters() -> None:
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 8,
        "prompt_tokens_details": {"cached_tokens": 4, "audio_tokens": 1, "cache_write_tokens": None},
        "completion_tokens_details": {"audio_tokens": 2, "reasoning_tokens": 3},
    }
    completion = read_completion(json.dumps({"usage": usage}).encode())
    assert completion.usage == Usage(input=5, cached_input=4, audio_input=1, output=6, audio_output=2, reasoning=3)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"[" * 100_000])
def test_an_answer_that_cannot_be_read_is_a_broken_backend(body: bytes) -> None:
    with pytest.raises(BackendBroken):
        read_completion(body)


@pytest.mark.parametrize(
    ("status", "body", "categories"),
    [
        (
            400,
            {"error": {"code": "content_filter", "innererror": {"content_filter_result": HATE}}},
            {"hate:filtered", "hate:high", "jailbreak:detected"},
        ),
        (400, {"error": {"code": "content_filter"}}, set()),
        (400, {"error": {"code": "other", "message": "content_filter"}}, None),
        (400, {"error": "content_filter"}, None),
        (400, ["content_filter"], None),
        (400, {"error": {"code": "bad"}}, None),
        (429, {"error": {"code": "content_filter"}}, None),
    ],
)
def test_filtered_prompts_are_recognised(status: int, body: Any, categories: set[str] | None) -> None:
    found = ChatCompletions().filtered_prompt(status, json.dumps(body).encode())
    assert found == categories
    assert ChatCompletions().filtered_prompt(400, b"content_filter {") is None


@pytest.mark.parametrize(
    ("fields", "cap", "choices"),
    [
        ({}, None, 1),
        ({"max_tokens": 5}, 5, 1),
        ({"max_tokens": 5, "max_completion_tokens": 9, "n": 3}, 9, 3),
        ({"max_tokens": None, "n": None}, None, 1),
    ],
)
def test_output_limits_are_read(fields: dict[str, Any], cap: int | None, choices: int) -> None:
    request = read_request(json.dumps({"messages": [{}], **fields}).encode())
    assert (request.max_output_tokens, request.choices) == (cap, choices)


def test_malformed_messages_are_counted_and_left_to_the_backend() -> None:
    body = {"messages": ["text", {"role": 7, "content": ["x", {"type": "text", "text": "y"}]}]}
    request = read_request(json.dumps({**body, "stream": True, "stream_options": {"a": 1}}).encode())
    assert list(request.texts) == ["text", "7", "x", "y"]
    sent = json.loads(ChatCompletions().forwarded_body(request, ROUTE, None))
    assert sent["stream_options"] == {"a": 1, "include_usage": True}


@pytest.mark.parametrize("body", [b"", b"null", b'"x"', b'{"messages": {}}', b'{"a":}', b"\xff"])
def test_bodies_that_are_no_request_are_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        read_request(body)


@given(st.text(max_size=400))
def test_our_token_counts_are_those_of_an_independent_tokenizer(text: str) -> None:
    for model, vocabulary in (("gpt-4o", "o200k_base"), ("gpt-4", "cl100k_base"), ("gpt-35-turbo", "cl100k_base")):
        assert SplintrTokenizer().count(text, model) == oracle(vocabulary).count(text)


def test_long_texts_are_counted_in_pieces_and_never_too_low() -> None:
    text = "The quick brown fox jumps. " * 5000
    exact = oracle("o200k_base").count(text)
    assert exact <= SplintrTokenizer().count(text, "gpt-4o") <= exact + len(text) // 16_384 + 1
