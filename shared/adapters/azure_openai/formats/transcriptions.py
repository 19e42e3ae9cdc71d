"""The wire format of transcriptions and translations: a sound file in, text out.

https://learn.microsoft.com/azure/ai-services/openai/reference#transcriptions---create. Whisper is priced by the second,
and states the seconds only in `verbose_json`. So it is asked for that where the caller wants `json` or `text`, and the
answer is cut down to what the caller wants. The models named `gpt-4o-transcribe` are priced by token.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final

import msgspec

from shared.adapters.azure_openai.formats import answers
from shared.adapters.azure_openai.formats.buffered import BufferedFormat
from shared.adapters.azure_openai.formats.multipart import Part, parts_of, with_content, with_field
from shared.adapters.azure_openai.formats.sound import duration
from shared.adapters.azure_openai.formats.typed_events import TypedEventReader
from shared.adapters.canonical_json import encode_canonical
from shared.domain.errors import BackendBroken, InvalidRequest
from shared.domain.inference.parsed_body import BOUNDED, Completion, ParsedBody, Replacement
from shared.domain.pricing.price_book import SOUND
from shared.domain.pricing.usage import NOTHING_USED, Usage
from shared.domain.routing.catalog import Route

_USUAL_INPUT_TOKENS_PER_SECOND: Final = 10
_MOST_INPUT_TOKENS_PER_SECOND: Final = 20
_MOST_OUTPUT_TOKENS_PER_SECOND: Final = 8
"""The fastest speech."""
_UNBOUNDED: Final = frozenset({"input", "output", "units"})
_MARGIN: Final = 32
_WHISPER: Final = "whisper"
_JSON: Final = "json"
_VERBOSE: Final = "verbose_json"
_CUT_DOWN: Final = frozenset({_JSON, "text"})
"""The forms of an answer that state no duration, and that can be made from one that does."""
_TEXT_FORMS: Final = frozenset({"text", "srt", "vtt"})
_END_OF_SUBTITLE: Final = re.compile(r"--> (?:(\d{1,3}):)?(\d\d):(\d\d[.,]\d{3})")
_FLAGS: Final = ("true", "false")
_SINGLE: Final = ("file", "model", "prompt", "stream", "response_format", "language", "temperature")
"""Parts of which there is at most one."""
_NOT_INPUT: Final = frozenset({"model", "stream", "response_format", "language", "temperature"})
"""Fields that are no input of the model. Every other field is counted as text."""


class _Answer(msgspec.Struct):
    """An answer as JSON. Only `verbose_json` has a duration, in seconds."""

    text: str = ""
    duration: Any = None
    usage: answers.InputOutputUsage | None = None


_answer_decoder = msgspec.json.Decoder(_Answer)


class TranscriptReader(TypedEventReader):
    """Reads the events of a streamed transcript."""

    ending_marks = (b"transcript.text.done",)
    last_types = frozenset({"transcript.text.done"})


class Transcriptions(BufferedFormat):
    """Implements `InferenceFormat` for `/audio/transcriptions` and `/audio/translations`."""

    is_multipart = True

    def __init__(self, operation: str) -> None:
        self.operation = operation

    def read_request(self, body: bytes, content_type: str) -> ParsedBody:
        parts = parts_of(body, content_type)
        file = _file_of(parts)
        fields = {part.name: body[part.start : part.end].decode() for part in parts if not part.is_file}
        if fields.get("stream", "false") not in _FLAGS:
            raise InvalidRequest("'stream' must be true or false.", "stream")
        sound = duration(body[file.start : file.end])
        usual_seconds, most_seconds = math.ceil(sound.usual_seconds), math.ceil(sound.most_seconds)
        usual_tokens = usual_seconds * _USUAL_INPUT_TOKENS_PER_SECOND
        return ParsedBody(
            raw=body,
            content_type=content_type,
            model=fields.get("model"),
            reader=TranscriptReader if fields.get("stream") == "true" else None,
            texts=[text for name, text in fields.items() if name not in _NOT_INPUT and text],
            fixed_tokens=usual_tokens,
            input_margin=_MARGIN + most_seconds * _MOST_INPUT_TOKENS_PER_SECOND - usual_tokens,
            unbounded=BOUNDED if sound.is_bounded else _UNBOUNDED,
            choices=1,
            max_output_tokens=most_seconds * _MOST_OUTPUT_TOKENS_PER_SECOND + _MARGIN,
            answer_form=fields.get("response_format") or _JSON,
            units=Usage(audio_seconds=most_seconds),
            usual_units=Usage(audio_seconds=usual_seconds),
            basis=SOUND,
        )

    def prompt(self, parsed: ParsedBody) -> bytes:
        """Return the text of `prompt`, and the SHA-256 of the sound in place of the file."""
        parts = {part.name: parsed.raw[part.start : part.end] for part in parts_of(parsed.raw, parsed.content_type)}
        text = {"prompt": parts["prompt"].decode()} if "prompt" in parts else {}
        return encode_canonical({"file_sha256": sha256(parts["file"]).hexdigest(), **text})

    def forwarded_body(self, parsed: ParsedBody, route: Route, model: str | None) -> bytes:
        body = parsed.raw
        if model is not None:
            body = _with(body, parsed.content_type, "model", model)
        if parsed.answer_form in _CUT_DOWN and _WHISPER in route.backend.model:
            body = _with(body, parsed.content_type, "response_format", _VERBOSE)
        return body

    def read_completion(self, parsed: ParsedBody, body: bytes) -> Completion:
        answer = answers.read_or_none(_answer_decoder, body) if body.startswith(b"{") else None
        if answer is None:
            return _read_text(parsed, body)
        usage, duration = answer.usage, answer.duration
        if usage is not None and usage.type != "duration":
            tokens, at_least = usage.stated()
            return Completion(usage=tokens, at_least=at_least, texts=[answer.text])
        seconds = duration if usage is None else usage.seconds
        is_stated = isinstance(seconds, int | float) and seconds > 0 and seconds is not True
        known = Usage(audio_seconds=math.ceil(seconds)) if is_stated else NOTHING_USED
        is_cut_down = parsed.answer_form in _CUT_DOWN and duration is not None
        return Completion(
            usage=None, texts=[answer.text], units=known, replacement=_cut_down(parsed, answer) if is_cut_down else None
        )


def _with(body: bytes, content_type: str, name: str, content: str) -> bytes:
    """Return the body with another content in one of its fields, or with the field added."""
    for part in parts_of(body, content_type):
        if part.name == name:
            return with_content(body, part, content)
    return with_field(body, content_type, name, content)


def _cut_down(parsed: ParsedBody, answer: _Answer) -> Replacement:
    """Return the answer in the form that the caller wants, as Azure writes it."""
    if parsed.answer_form == _JSON:
        return Replacement(msgspec.json.encode({"text": answer.text}), b"application/json")
    return Replacement(answer.text.encode() + b"\n", b"text/plain; charset=utf-8")


def _read_text(parsed: ParsedBody, body: bytes) -> Completion:
    """Read an answer that is not JSON. Subtitles show that the sound was at least as long as their last mark says.

    Raises `BackendBroken` if the caller asked for JSON.
    """
    if parsed.answer_form not in _TEXT_FORMS:
        raise BackendBroken("The answer of the backend is not valid JSON.")
    text = body.decode("utf-8", "replace")
    marks = _END_OF_SUBTITLE.findall(text) if parsed.answer_form != "text" else ()
    shown = max((_seconds_of(*mark) for mark in marks), default=0)
    usual = parsed.usual_units or NOTHING_USED
    is_longer = shown > usual.audio_seconds
    return Completion(usage=None, texts=[text], units=Usage(audio_seconds=shown) if is_longer else NOTHING_USED)


def _seconds_of(hours: str, minutes: str, seconds: str) -> int:
    return int(hours or 0) * 3600 + int(minutes) * 60 + math.ceil(float(seconds.replace(",", ".")))


def _file_of(parts: Sequence[Part]) -> Part:
    """Return the file. Raises `InvalidRequest` unless there is one, and one of each part that the gateway reads.

    Of two parts with one name, the gateway could read one and upstream the other. Some readers ignore case, or take
    `model[]` for `model`.
    """
    names = Counter(part.name.casefold().partition("[")[0] for part in parts)
    for name in _SINGLE:
        if names[name] > 1:
            raise InvalidRequest(f"'{name}' was sent twice.", name)
    for part in parts:
        name = part.name.casefold().partition("[")[0]
        if name == "_charset_" or (name in _SINGLE and (part.name != name or part.is_file != (name == "file"))):
            raise InvalidRequest(f"A part is not named '{name}' exactly, or is a file where a field is meant.", name)
    for part in parts:
        if part.name == "file":
            return part
    raise InvalidRequest("'file' is required.", "file")
