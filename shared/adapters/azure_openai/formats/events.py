"""Streams of events: passed on as they are, and parsed only where they may say something.

Chunks end anywhere, also inside a line, a line end or a character. Complete events are released as they come; what ends
a stream is withheld, so that it can be booked first. https://html.spec.whatwg.org/multipage/server-sent-events.html
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Final

from shared.domain.pricing.usage import NOTHING_USED, Usage

_BLANK_LINES: Final = re.compile(rb"(?:\r?\n){2,}")
_FINDINGS: Final = (b'ed":true', b'y":"low"', b'y":"medium"', b'y":"high"')
"""One of these is in every event that tells of a finding, as Azure writes it; other spacing is read event by event."""
_SPACED: Final = b'": '
_HEAD_BYTES: Final = 64


class EventReader(ABC):
    """Implements `EventReader` but for what the events of an operation say."""

    is_text = True
    marks: tuple[bytes, ...]
    """One of these is in every event that states usage or ends the stream."""

    def __init__(self) -> None:
        self.usage: Usage | None = None
        self.units = NOTHING_USED
        self.findings: set[str] = set()
        self.service_tier = ""
        self.response_id = ""
        self.ended = False
        self._incomplete = b""
        self._withheld = b""
        self._has_begun = False
        self._may_say_nothing = False
        self._watched = (*self.marks, *_FINDINGS)

    @abstractmethod
    def read_ending(self, data: bytes) -> bool:
        """Take what the event with a mark, or one after it, says; whether it is released. The last sets `ended`."""

    @abstractmethod
    def note(self, data: bytes) -> None:
        """Take the content filter's findings from an event's data."""

    @abstractmethod
    def texts(self, events: bytes) -> Sequence[str]:
        """The generated text in released events, one string a choice."""

    def feed(self, chunk: bytes) -> bytes:
        """The complete events that may go to the caller now."""
        if self.ended:
            self._withheld += chunk
            return b""
        if self._incomplete:
            chunk = self._incomplete + chunk
            self._incomplete = b""
        if not chunk.endswith(b"\n\n"):
            end = end_of_last_event(chunk)
            self._incomplete = chunk[end:]
            chunk = chunk[:end]
        if not self._may_say_nothing:
            return self._read(chunk)
        find = chunk.rfind  # half the cost of `in`, which first asks whether it is given a number
        for mark in self._watched:
            if find(mark) >= 0:
                return self._read(chunk)
        return chunk

    def ending(self) -> bytes:
        """What was withheld."""
        return self._withheld + self._incomplete

    def _read(self, chunk: bytes) -> bytes:
        """Release the events before the first with a mark, and of the others those that may go."""
        if not self._has_begun and chunk:
            self._has_begun = True
            self._may_say_nothing = chunk.find(_SPACED, 0, _HEAD_BYTES) < 0
        end = len(chunk)
        while (mark := max(chunk.rfind(mark, 0, end) for mark in self.marks)) >= 0:
            end = end_of_last_event(chunk, mark)
        head = chunk[:end]
        if not self._may_say_nothing or any(head.rfind(finding) >= 0 for finding in _FINDINGS):
            for event in events_in(head):
                self.note(data_of(event))
        return head + self._read_endings(chunk[end:])

    def _read_endings(self, chunk: bytes) -> bytes:
        released: list[bytes] = []
        for event in events_in(chunk):
            if not self.ended and self.read_ending(data_of(event)):
                released.append(event)
            elif self.ended:
                self._withheld += event
        return b"".join(released)


def end_of_last_event(chunk: bytes, before: int | None = None) -> int:
    newline = chunk.rfind(b"\n\n", 0, before)
    end = newline + 2 if newline >= 0 else 0
    crlf = chunk.rfind(b"\r\n\r\n", end, before)
    return crlf + 4 if crlf >= 0 else end


def events_in(chunk: bytes) -> Iterator[bytes]:
    """The complete events of a chunk, each with the blank line that ends it."""
    start = 0
    for blank_lines in _BLANK_LINES.finditer(chunk):
        yield chunk[start : blank_lines.end()]
        start = blank_lines.end()


def data_of(event: bytes) -> bytes:
    """The data of one event, its lines joined as the standard says; empty for a comment."""
    lines = [line[5:].strip() for line in event.splitlines() if line.startswith(b"data:")]
    return lines[0] if len(lines) == 1 else b"\n".join(lines)
