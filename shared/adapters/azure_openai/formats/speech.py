"""The wire format of speech: text in, sound out, as a binary stream or as events.

https://learn.microsoft.com/azure/ai-services/openai/reference#text-to-speech. A model is priced by the characters
spoken, which the request states, or by tokens, which only the events state.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Final

from shared.adapters.azure_openai.formats import bodies
from shared.adapters.azure_openai.formats.buffered import BufferedFormat
from shared.adapters.azure_openai.formats.references import check_voice
from shared.adapters.azure_openai.formats.typed_events import TypedEventReader
from shared.domain.errors import InvalidRequest
from shared.domain.inference.parsed_body import Completion, ParsedBody
from shared.domain.pricing.price_book import SPEECH
from shared.domain.pricing.usage import NOTHING_STATED, Usage

_MOST_TOKENS_PER_CHARACTER: Final = 4
"""Sound has 21 tokens a second, and slow speech has about five characters a second."""
_USUAL_TOKENS_PER_CHARACTER: Final = 1.4
"""Speech usually has fifteen characters a second."""
_UNBOUNDED: Final = frozenset({"output"})
"""Instructions and punctuation can make speech slower than any text tells."""
_MARGIN: Final = 32


class SpeechReader(TypedEventReader):
    """Reads speech that is streamed as events."""

    ending_marks = (b"speech.audio.done",)
    last_types = frozenset({"speech.audio.done"})


class SoundReader:
    """Implements `EventReader` for binary sound. Withholds the last byte until the request is booked."""

    is_text = False

    def __init__(self, units: Usage) -> None:
        self.usage: Usage | None = None
        self.at_least = NOTHING_STATED
        self.units = units
        self.findings: set[str] = set()
        self.service_tier = self.response_id = ""
        self.is_background = False
        self.ended = True  # binary sound has no last event: it ends where the body ends
        self._withheld = b""

    def feed(self, chunk: bytes) -> bytes:
        released = self._withheld + chunk[:-1]
        self._withheld = chunk[-1:]
        return released

    def end(self) -> None:
        """Do nothing: a sound has no events."""

    def ending(self) -> bytes:
        return self._withheld

    def texts(self, events: bytes) -> list[str]:  # noqa: ARG002 - the port
        return []


class Speech(BufferedFormat):
    """Implements `InferenceFormat` for `/audio/speech`."""

    operation = "audio/speech"
    prompt_members = ("input", "instructions")

    def read_request(self, body: bytes, content_type: str) -> ParsedBody:
        fields = bodies.read(body)
        spoken_text = bodies.text(fields, "input")
        if not spoken_text:
            raise InvalidRequest("'input' is required and must be a string.", "input")
        check_voice(fields.get("voice"), "voice")
        spoken = Usage(speech_characters=len(spoken_text))
        is_events = bodies.text(fields, "stream_format") == "sse"
        return ParsedBody(
            raw=body,
            content_type=content_type,
            model=bodies.text(fields, "model"),
            reader=partial(SpeechReader, spoken) if is_events else partial(SoundReader, spoken),
            texts=[spoken_text, *bodies.texts_in(fields.get("instructions"))],
            input_margin=_MARGIN,
            unbounded=_UNBOUNDED,
            choices=1,
            max_output_tokens=len(spoken_text) * _MOST_TOKENS_PER_CHARACTER,
            unseen_output_tokens=math.ceil(len(spoken_text) * _USUAL_TOKENS_PER_CHARACTER),
            units=spoken,
            basis=SPEECH,
        )

    def read_completion(self, parsed: ParsedBody, body: bytes) -> Completion:  # noqa: ARG002 - the port
        """Return the spoken characters, which the request states. Needed only if upstream sends no stream."""
        return Completion(usage=None, units=parsed.units)
