"""Streams whose events state their type: responses, images and audio."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from shared.adapters.azure_openai.formats import answers
from shared.adapters.azure_openai.formats.events import EventReader, data_of, events_in
from shared.domain.pricing.usage import NOTHING_USED, Usage


class _Event(msgspec.Struct):
    type: str = ""
    delta: Any = None
    item_id: str = ""
    usage: answers.InputOutputUsage | None = None


_decoder = msgspec.json.Decoder(_Event)


class TypedEventReader(EventReader):
    """Reads a stream whose last event states usage."""

    last_types: ClassVar[frozenset[str]]
    """The types of that event."""

    def __init__(self, units: Usage = NOTHING_USED) -> None:
        """`units` is the known consumption other than tokens."""
        super().__init__()
        self.units = units

    def read_ending_event(self, data: bytes) -> bool:
        event = answers.read_or_none(_decoder, data)
        if event is None or event.type not in self.last_types:
            return True
        if event.usage is not None:
            self.usage = event.usage.disjoint()
        self.ended = True
        return False

    def read_findings(self, data: bytes) -> None:
        """Do nothing: these operations state no findings in their streams."""

    def texts(self, events: bytes) -> Sequence[str]:
        """Return the text that events with a `delta` add, one string for each item of output."""
        texts: dict[str, list[str]] = defaultdict(list)
        for raw in events_in(events):
            event = answers.read_or_none(_decoder, data_of(raw))
            if event is not None and isinstance(event.delta, str):
                texts[event.item_id].append(event.delta)
        return ["".join(parts) for parts in texts.values()]
