"""What chat completions and legacy completions share: choices, their usage, and streams that end in `[DONE]`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from shared.adapters.azure_openai.formats import answers, bodies
from shared.adapters.azure_openai.formats.events import EventReader, data_of, events_in
from shared.domain.inference.parsed_body import Completion, ParsedBody
from shared.domain.routing.catalog import Route

_USAGE: Final = b'"completion_tokens"'
_DONE: Final = b"[DONE]"


class _Message(msgspec.Struct):
    content: Any = None
    refusal: Any = None
    audio: Any = None
    tool_calls: msgspec.Raw = msgspec.Raw()


class _Choice(answers.Judged):
    index: int = 0
    text: str | None = None
    delta: _Message | None = None
    message: _Message | None = None


class _Answer(msgspec.Struct):
    """A buffered answer or one streamed chunk."""

    choices: list[_Choice] | None = None
    usage: answers.TokenUsage | None = None
    prompt_filter_results: list[answers.Judged] | None = None
    service_tier: str | None = None


_decoder = msgspec.json.Decoder(_Answer)


class ChoicesFormat:
    """The part of `InferenceFormat` that both operations share."""

    is_multipart = False

    def read_completion(self, parsed: ParsedBody, body: bytes) -> Completion:  # noqa: ARG002 - the port
        answer = answers.read(_decoder, body)
        usage = None if answer.usage is None else answer.usage.disjoint()
        texts = _texts_by_choice([answer]) if usage is None else ()
        return Completion(
            usage=usage, findings=frozenset(_findings_of(answer)), texts=texts, service_tier=answer.service_tier or ""
        )

    def filtered_prompt(self, status: int, body: bytes) -> frozenset[str] | None:
        return answers.filtered_prompt(status, body)

    def error_event(self, code: str, message: str) -> bytes:
        return answers.error_event(code, message)


class ChoiceReader(EventReader):
    """Reads the chunks of a streamed answer."""

    marks = (_USAGE, _DONE)

    def __init__(self, *, releases_usage: bool) -> None:
        super().__init__()
        self._releases_usage = releases_usage

    def read_ending(self, data: bytes) -> bool:
        if data == _DONE:
            self.ended = True
            return False
        answer = answers.read_or_none(_decoder, data)
        if answer is None:
            return True
        self._take(answer)
        return answer.usage is None or bool(answer.choices) or self._releases_usage

    def note(self, data: bytes) -> None:
        answer = answers.read_or_none(_decoder, data)
        if answer is not None:
            self._take(answer)

    def texts(self, events: bytes) -> Sequence[str]:
        read = (answers.read_or_none(_decoder, data_of(event)) for event in events_in(events))
        return _texts_by_choice([answer for answer in read if answer is not None])

    def _take(self, answer: _Answer) -> None:
        self.findings.update(_findings_of(answer))
        self.service_tier = answer.service_tier or self.service_tier
        if answer.usage is not None:
            self.usage = answer.usage.disjoint()


_reader: Final = partial(ChoiceReader, releases_usage=False)
_whole_reader: Final = partial(ChoiceReader, releases_usage=True)


def defaults_for(route: Route, *, has_temperature: bool, has_top_p: bool) -> dict[str, Any]:
    """The deployment's sampling defaults that the caller left out and the model accepts."""
    deployment = route.deployment
    if not deployment.has_sampling or is_reasoning(route.backend.model):
        return {}
    stated = {"temperature": has_temperature, "top_p": has_top_p}
    values = {"temperature": deployment.temperature, "top_p": deployment.top_p}
    return {name: value for name, value in values.items() if value is not None and not stated[name]}


def reader_for(stream: object, options: object) -> Callable[[], EventReader] | None:
    """A reader where a stream is asked for; it releases the usage event to callers who asked for that too."""
    if stream is not True:
        return None
    return _whole_reader if isinstance(options, dict) and options.get("include_usage") is True else _reader


def with_usage_asked_for(parsed: ParsedBody) -> dict[str, Any]:
    """`stream_options` that ask for usage, where a streaming caller did not."""
    if parsed.reader is not _reader:
        return {}
    options = bodies.member(parsed.raw, "stream_options")
    return {"stream_options": {**(options if isinstance(options, dict) else {}), "include_usage": True}}


def is_reasoning(model: str) -> bool:
    """Whether a model reasons: such a model takes no sampling parameters and caps output by another name.

    https://learn.microsoft.com/azure/ai-services/openai/how-to/reasoning
    """
    return model.startswith(("o1", "o3", "o4", "codex", "gpt-5")) and not model.startswith("gpt-5-chat")


def _findings_of(answer: _Answer) -> Iterator[str]:
    yield from answers.findings_of(answer.prompt_filter_results or ())
    yield from answers.findings_of(answer.choices or ())


def _texts_by_choice(read: Sequence[_Answer]) -> list[str]:
    texts: dict[int, list[str]] = defaultdict(list)
    for answer in read:
        for choice in answer.choices or ():
            texts[choice.index] += _texts_of(choice)
    return [text for parts in texts.values() if (text := "".join(parts))]


def _texts_of(choice: _Choice) -> Iterator[str]:
    message = choice.delta or choice.message or _Message()
    transcript = message.audio.get("transcript") if isinstance(message.audio, dict) else None
    for part in (choice.text, message.content, message.refusal, transcript):
        if isinstance(part, str):
            yield part
    yield bytes(message.tool_calls).decode(errors="replace")
