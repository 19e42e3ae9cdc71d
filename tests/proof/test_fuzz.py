"""Any body is read or refused, any stream passes byte for byte, and no other error is raised.

Hypothesis mutates the inputs in tests/corpus, which once caused trouble.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.adapters.azure_openai.formats.all_formats import FORMATS
from shared.adapters.azure_openai.formats.choices import ChoiceReader
from shared.adapters.azure_openai.formats.events import EventReader
from shared.adapters.azure_openai.formats.images import ImageReader
from shared.adapters.azure_openai.formats.responses import ResponseReader
from shared.adapters.azure_openai.formats.speech import SpeechReader
from shared.adapters.azure_openai.formats.transcriptions import TranscriptReader
from shared.application.ports.formats import InferenceFormat
from shared.domain.errors import BackendBroken, InvalidRequest
from shared.domain.inference.parsed_body import ParsedBody
from shared.domain.routing.catalog import Backend, Deployment, Route

CORPUS = Path(__file__).parents[1] / "corpus"
FORM = "multipart/form-data; boundary=b"
READERS: dict[str, Callable[[], EventReader]] = {
    "choices": lambda: ChoiceReader(releases_usage=True),
    "responses": ResponseReader,
    "images": lambda: ImageReader(2),
    "speech": SpeechReader,
    "transcripts": TranscriptReader,
}
DEFAULTS = Deployment(
    name="d", backends=("b",), max_output_tokens=9, temperature=0.5, top_p=0.5, system_prompt="Be kind."
)
ROUTE = Route(
    DEFAULTS,
    Backend(
        backend_id="b",
        endpoint="https://b.invalid",
        upstream_deployment="gpt-4o",
        model="gpt-4o",
        region="swedencentral",
    ),
)


def corpus(folder: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((CORPUS / folder).iterdir())]


@st.composite
def mutated(draw: st.DrawFn, folder: str) -> bytes:
    """Draw an input of the corpus with one piece cut out and another inserted."""
    whole = draw(st.sampled_from(corpus(folder)))
    start, end = sorted((draw(st.integers(0, len(whole))), draw(st.integers(0, len(whole)))))
    piece = draw(st.sampled_from([b"", b"\n\n", b"\r\n", b'"', b"null", b"{", b"]", b"\xff", b"[DONE]", b"--b", b"-1"]))
    return whole[:start] + piece + whole[end if end - start < 40 else start :]


def read_or_refuse(wire: InferenceFormat, body: bytes) -> ParsedBody | None:
    try:
        return wire.read_request(body, FORM)
    except InvalidRequest:
        return None


@pytest.mark.parametrize("operation", FORMATS)
@pytest.mark.parametrize("body", corpus("bodies") + corpus("forms"))
def test_every_body_of_the_corpus_is_read_or_refused(operation: str, body: bytes) -> None:
    _check(FORMATS[operation], body)


@given(body=st.binary(max_size=200) | mutated("bodies"), operation=st.sampled_from(sorted(FORMATS)))
def test_any_body_is_read_or_refused(body: bytes, operation: str) -> None:
    _check(FORMATS[operation], body)


@given(body=mutated("forms"))
def test_any_form_is_read_or_refused(body: bytes) -> None:
    _check(FORMATS["audio/transcriptions"], body)


def _check(wire: InferenceFormat, body: bytes) -> None:
    request = read_or_refuse(wire, body)
    if request is None:
        return
    assert request.raw == body
    assert request.fixed_tokens >= 0
    assert request.input_margin >= 0
    assert request.choices >= 0
    assert all(isinstance(text, str) for text in request.texts)
    if request.model is not None:
        assert wire.forwarded_body(request, ROUTE, "other")
    assert wire.forwarded_body(request, ROUTE, None)


@given(
    body=st.binary(max_size=200) | mutated("streams") | mutated("bodies"), operation=st.sampled_from(sorted(FORMATS))
)
def test_any_answer_is_read_or_broken(body: bytes, operation: str) -> None:
    request = ParsedBody(raw=b"{}", content_type="application/json", model=None)
    try:
        FORMATS[operation].read_completion(request, body)
    except BackendBroken:
        return


@pytest.mark.parametrize("name", READERS)
@given(stream=st.binary(max_size=300) | mutated("streams"), cuts=st.lists(st.integers(0, 1200), max_size=6))
@example(stream=b"data: speech.audio.done\n\n\n", cuts=[])
@example(stream=b"data: [DONE]\r\n\r\n\n", cuts=[])
def test_any_stream_passes_whole_however_it_is_cut(name: str, stream: bytes, cuts: list[int]) -> None:
    reader = READERS[name]()
    places = sorted({0, len(stream), *(min(cut, len(stream)) for cut in cuts)})
    released = b"".join(reader.feed(stream[start:end]) for start, end in pairwise(places))
    assert released + reader.ending() == stream
    assert all(isinstance(text, str) for text in reader.texts(released))


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("stream", corpus("streams"))
def test_a_stream_says_the_same_however_it_is_cut(name: str, stream: bytes) -> None:
    at_once, byte_by_byte = READERS[name](), READERS[name]()
    first = at_once.feed(stream)
    second = b"".join(byte_by_byte.feed(stream[place : place + 1]) for place in range(len(stream)))
    assert (first, at_once.ending(), at_once.usage, at_once.findings, at_once.ended) == (
        second,
        byte_by_byte.ending(),
        byte_by_byte.usage,
        byte_by_byte.findings,
        byte_by_byte.ended,
    )
