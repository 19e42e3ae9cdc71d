"""Streams whose events state their type: responses, images and audio."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

import msgspec

from shared.adapters.azure_openai.formats import answers
from shared.adapters.azure_openai.formats.events import EventReader, data_of, events_in
from shared.domain.pricing.usage import NOTHING_USED, Usage


class _Event(msgspec.Struct):
    type: str = ""
    delta: Any = None
    usage: answers.InputOutputUsage | None = None


_decoder = msgspec.json.Decoder(_Event)
_WHOLE_TEXTS: Final = ("text", "arguments", "refusal", "input", "transcript")
"""Members of an event that repeats the text of its `delta` events."""


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
        if event is None:
            return True
        if event.type in self.last_types:
            self.take_usage(answers.NO_USAGE if event.usage is None else event.usage.stated())
            self.ended = True
        elif isinstance(event.delta, str):
            self.disown_usage()
        return not self.ended

    def read_findings(self, data: bytes) -> None:
        """Do nothing: these operations state no findings in their streams, and no usage before the last event."""

    def texts(self, events: bytes) -> Sequence[str]:
        """Return the generated text, one string for each item of output: its deltas, or the whole if that is longer."""
        deltas: dict[str, list[str]] = defaultdict(list)
        wholes: dict[str, str] = {}
        for raw in events_in(events):
            event = answers.document_of(data_of(raw))
            item_id = str(event.get("item_id", ""))
            if isinstance(event.get("delta"), str) and not str(event.get("type")).endswith("audio.delta"):
                deltas[item_id].append(event["delta"])
            for name, text in _whole_texts(event, item_id):
                wholes[name] = max(wholes.get(name, ""), text, key=len)
        shown = (
            max("".join(deltas[name]), wholes.get(name, ""), key=len) for name in (*deltas, *wholes.keys() - deltas)
        )
        return [text for text in shown if text]


def _whole_texts(event: Mapping[str, Any], item_id: str) -> Iterator[tuple[str, str]]:
    """Yield the id and the whole text of each item of output that an event repeats."""
    yield item_id, answers.generated_text([event.get(name) for name in _WHOLE_TEXTS])
    response = event.get("response")
    items = answers.dicts_in(response.get("output")) if isinstance(response, dict) else []
    for item in (*items, *answers.dicts_in([event.get("item")])):
        yield str(item.get("id", "")), answers.generated_text(item)
