"""Server-sent events: passed on unchanged, and parsed only if they may state something that the gateway books.

Chunks end anywhere, even inside a line end or a character. Complete events are released as they come. The events that
end a stream are withheld until the request is booked.
https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Final

from shared.adapters.azure_openai.formats.answers import document_of
from shared.domain.errors import BackendBroken
from shared.domain.pricing.usage import NOTHING_STATED, NOTHING_USED, LeastTokens, Usage

_BLANK_LINES: Final = re.compile(rb"(?:\r\n?|\n){2,}")
_FINDING_MARKS: Final = (b'ed":true', b'y":"low"', b'y":"medium"', b'y":"high"')
"""One of these is in every event that states a finding, if its JSON is compact: `filtered`, `detected`, `severity`."""
_TIER_MARK: Final = b'"service_tier"'
DONE: Final = b"[DONE]"
"""The data of the event that ends streams of choices."""
_SPACE_AFTER_NAME: Final = b'": '
_SAMPLE_BYTES: Final = 64
"""The first bytes of a stream show whether its JSON has a space after each name. Azure writes none."""
_LONGEST_BLANK_LINE: Final = 4
_MOST_EVENT_BYTES: Final = 33_554_432
"""The largest events have several images in them."""
_MOST_WITHHELD_BYTES: Final = 65_536
"""Events after the last one are dropped beyond this."""


class EventReader(ABC):
    """Implements the port `EventReader`, except the reading of an operation's events.

    Most chunks are searched for a few byte strings and not parsed, because parsing costs far more CPU.
    """

    is_text = True
    ending_marks: tuple[bytes, ...]
    """One of these is in every event that states usage or ends the stream."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.at_least = NOTHING_STATED
        self.units = NOTHING_USED
        self.findings: set[str] = set()
        self.service_tier = ""
        self.response_id = ""
        self.is_background = False
        self.ended = False
        self._incomplete = bytearray()
        """The begun event at the end of the last chunk."""
        self._withheld = b""
        self._has_begun = False
        self._is_compact = False
        """Its JSON has no spaces, so that a chunk without a mark has nothing to read."""
        self._watched_marks = (*self.ending_marks, *_FINDING_MARKS)

    @abstractmethod
    def read_ending_event(self, data: bytes) -> bool:
        """Read an event that has an ending mark or follows one. Sets `ended` at the last event, and for good.

        Returns `True` if the caller may receive the event before the request is booked.
        """

    @abstractmethod
    def read_findings(self, data: bytes) -> None:
        """Read the content filter's findings from an event without an ending mark, and text that follows a usage."""

    @abstractmethod
    def texts(self, events: bytes) -> Sequence[str]:
        """Return the generated text in events, one string for each choice."""

    def feed(self, chunk: bytes) -> bytes:
        """Add a chunk. Returns the complete events that the caller may receive now."""
        if self._incomplete:
            chunk = self._completed_by(chunk)
            if not chunk:
                return b""
        if not chunk.endswith(b"\n\n"):  # most chunks end with an event
            end = end_of_last_event(chunk)
            self._incomplete = bytearray(chunk[end:])
            chunk = chunk[:end]
        if not self._is_compact:
            return self._read_and_release(chunk)
        find = chunk.rfind  # ADR 12: half the cost of `in`, which asks first whether it was given an integer
        for mark in self._watched_marks:
            if find(mark) >= 0:
                return self._read_and_release(chunk)
        return chunk

    def _completed_by(self, chunk: bytes) -> bytes:
        """Return the begun event with a chunk that ends it; nothing if it goes on. Linear in the bytes of the event."""
        begun, searched = self._incomplete, max(0, len(self._incomplete) - _LONGEST_BLANK_LINE + 1)
        begun += chunk
        if begun.find(b"\n\n", searched) < 0 and begun.find(b"\r\n\r\n", searched) < 0:
            if len(begun) > _MOST_EVENT_BYTES:
                raise BackendBroken("An event of the backend exceeds the largest size of an event.")
            return b""
        self._incomplete = bytearray()
        return bytes(begun)

    def end(self) -> None:
        """Read the begun event at the end of the body. Some servers end the last event without a blank line.

        The standard discards what is no whole event. So does the gateway: it could not count it.
        """
        if self._incomplete:
            rest, self._incomplete = bytes(self._incomplete) + b"\n\n", bytearray()
            whole = [event for event in events_in(rest) if _is_whole(data_of(event))]
            self._withheld = self._read_ending_events(b"".join(whole)) + self._withheld

    def take_usage(self, stated: tuple[Usage | None, LeastTokens]) -> None:
        """Take a usage that an event states. Each later event is read, because text may follow."""
        self.usage, self.at_least = stated
        self._is_compact = False

    def disown_usage(self) -> None:
        """Give up the usage, because text has followed that it does not count."""
        if self.usage is not None:
            self.at_least = LeastTokens(input=self.usage.input_tokens, output=self.usage.output_tokens)
            self.usage = None

    def ending(self) -> bytes:
        """Return the events that were withheld. They may be sent once the request is booked."""
        return self._withheld + bytes(self._incomplete)

    def _read_and_release(self, chunk: bytes) -> bytes:
        """Read complete events. Returns those before the first ending mark, and of the others those that may go."""
        if self.ended:
            return self._read_ending_events(chunk)
        is_first = not self._has_begun and bool(chunk)
        if is_first:
            self._has_begun = True
            self._is_compact = chunk.find(_SPACE_AFTER_NAME, 0, _SAMPLE_BYTES) < 0
        # Generated text may contain an ending mark, too: such an event is parsed, states no usage, and goes on.
        marks_at = [at for mark in self.ending_marks if (at := chunk.find(mark)) >= 0]
        end = end_of_last_event(chunk, min(marks_at)) if marks_at else len(chunk)
        head = chunk[:end]
        states_tier = is_first and head.find(_TIER_MARK) >= 0  # a stream that is cut states it nowhere else
        if states_tier or not self._is_compact or any(head.rfind(mark) >= 0 for mark in _FINDING_MARKS):
            for event in events_in(head):
                self.read_findings(data_of(event))
        return head + self._read_ending_events(chunk[end:])

    def _read_ending_events(self, chunk: bytes) -> bytes:
        """Read the events from the first ending mark on. Returns those that may go, and withholds the others.

        Whatever follows the last event waits with it, so that the order is kept.
        """
        released: list[bytes] = []
        for event in events_in(chunk):
            may_go = self.read_ending_event(data_of(event))
            if self.ended:
                self._withhold(event)
            elif may_go:
                released.append(event)
        return b"".join(released)

    def _withhold(self, event: bytes) -> None:
        self._is_compact = False  # text that follows is not in the usage that was stated
        if not self._withheld or len(self._withheld) + len(event) <= _MOST_WITHHELD_BYTES:
            self._withheld += event


def _is_whole(data: bytes) -> bool:
    return data == DONE or bool(document_of(data))


def end_of_last_event(chunk: bytes, before: int | None = None) -> int:
    """Return the offset behind the last blank line of a chunk, or of its part before `before`; 0 if there is none."""
    # Lines end with LF or CRLF. The standard allows CR alone, which no server of this API sends.
    newline = chunk.rfind(b"\n\n", 0, before)
    end = newline + 2 if newline >= 0 else 0
    crlf = chunk.rfind(b"\r\n\r\n", end, before)
    return crlf + 4 if crlf >= 0 else end


def events_in(chunk: bytes) -> Iterator[bytes]:
    """Split a chunk into complete events, each with the blank lines that end it."""
    start = 0
    for blank_lines in _BLANK_LINES.finditer(chunk):
        yield chunk[start : blank_lines.end()]
        start = blank_lines.end()


def data_of(event: bytes) -> bytes:
    """Return the data of one event. Several `data` lines are joined by line feeds; a comment has none."""
    # One space may follow the colon. JSON does not care about more.
    lines = [line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")]
    return lines[0] if len(lines) == 1 else b"\n".join(lines)
