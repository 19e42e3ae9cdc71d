"""The part of a format that chat and legacy completions share: choices, usage, and streams that end with `[DONE]`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from shared.adapters.azure_openai.formats import answers, bodies
from shared.adapters.azure_openai.formats.events import EventReader, data_of, events_in
from shared.domain.errors import InvalidRequest
from shared.domain.inference.parsed_body import Completion, ParsedBody
from shared.domain.routing.catalog import Route

_USAGE_MARK: Final = b'"completion_tokens"'
_DONE: Final = b"[DONE]"


class _Message(msgspec.Struct):
    content: Any = None
    refusal: Any = None
    audio: Any = None
    tool_calls: msgspec.Raw = msgspec.Raw()


class _Choice(answers.WithFilterResults):
    index: int = 0
    text: str | None = None
    delta: _Message | None = None
    message: _Message | None = None


class _Answer(msgspec.Struct):
    """A buffered answer, or one event of a stream."""

    choices: list[_Choice] | None = None
    usage: answers.TokenUsage | None = None
    prompt_filter_results: list[answers.WithFilterResults] | None = None
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
    """Reads the events of a streamed answer."""

    ending_marks = (_USAGE_MARK, _DONE)

    def __init__(self, *, releases_usage: bool) -> None:
        """`releases_usage` says that the caller has asked for the usage event."""
        super().__init__()
        self._releases_usage = releases_usage

    def read_ending_event(self, data: bytes) -> bool:
        if data == _DONE:
            self.ended = True
            return False
        answer = answers.read_or_none(_decoder, data)
        if answer is None:
            return True
        self._record(answer)
        # Only an event that has nothing but usage is withheld: some servers state usage beside choices.
        return answer.usage is None or bool(answer.choices) or self._releases_usage

    def read_findings(self, data: bytes) -> None:
        answer = answers.read_or_none(_decoder, data)
        if answer is not None:
            self._record(answer)

    def texts(self, events: bytes) -> Sequence[str]:
        read = (answers.read_or_none(_decoder, data_of(event)) for event in events_in(events))
        return _texts_by_choice([answer for answer in read if answer is not None])

    def _record(self, answer: _Answer) -> None:
        self.findings.update(_findings_of(answer))
        self.service_tier = answer.service_tier or self.service_tier
        if answer.usage is not None:
            self.usage = answer.usage.disjoint()


_reader_withholding_usage: Final = partial(ChoiceReader, releases_usage=False)
_reader_releasing_usage: Final = partial(ChoiceReader, releases_usage=True)


def sampling_defaults(route: Route, stated: Container[str]) -> dict[str, Any]:
    """Return the deployment's sampling defaults that the caller left out and the model accepts, as members to set.

    `stated` are the members that the caller sent.
    """
    deployment = route.deployment
    if not deployment.has_sampling or is_reasoning_model(route.backend.model):
        return {}
    values = {"temperature": deployment.temperature, "top_p": deployment.top_p}
    return {name: value for name, value in values.items() if value is not None and name not in stated}


def reader_for(fields: Mapping[str, Any]) -> Callable[[], EventReader] | None:
    """Return the maker of a stream's reader; `None` if the caller asked for no stream. Raises `InvalidRequest`."""
    if not bodies.flag(fields, "stream"):
        return None
    options = fields.get("stream_options")
    if options is None:
        return _reader_withholding_usage
    if not isinstance(options, dict):
        raise InvalidRequest("'stream_options' must be an object.", "stream_options")
    return _reader_releasing_usage if bodies.flag(options, "include_usage") else _reader_withholding_usage


def members_asking_for_usage(parsed: ParsedBody) -> dict[str, Any]:
    """Return members that ask upstream for usage in a stream; none if the caller asked, or asked for no stream."""
    if parsed.reader is not _reader_withholding_usage:
        return {}
    options = bodies.members_of(parsed.raw).get("stream_options")
    return {"stream_options": {**(options or {}), "include_usage": True}}


def is_reasoning_model(model: str) -> bool:
    """Tell whether a model reasons. Such a model accepts no sampling parameters, and another name for its output cap.

    https://learn.microsoft.com/azure/ai-services/openai/how-to/reasoning
    """
    return model.startswith(("o1", "o3", "o4", "codex", "gpt-5")) and not model.startswith("gpt-5-chat")


def _findings_of(answer: _Answer) -> Iterator[str]:
    yield from answers.findings_of(answer.prompt_filter_results or ())
    yield from answers.findings_of(answer.choices or ())


def _texts_by_choice(read: Sequence[_Answer]) -> list[str]:
    """Return the generated text of each choice, joined, so that its tokens are counted as in one text."""
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
