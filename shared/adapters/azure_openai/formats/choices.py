"""The part of a format that chat and legacy completions share: choices, usage, and streams that end with `[DONE]`."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import msgspec

from shared.adapters.azure_openai.formats import answers, bodies
from shared.adapters.azure_openai.formats.events import DONE, EventReader, data_of, events_in
from shared.domain.errors import InvalidRequest
from shared.domain.inference.model_facts import reasons
from shared.domain.inference.parsed_body import Completion, ParsedBody
from shared.domain.routing.catalog import Route

CHOICES: Final = ("n", "best_of")
"""Members with a number of answers. Chats have `best_of` at other servers than Azure."""
_USAGE_MARK: Final = b'"completion_tokens"'


class _Answer(msgspec.Struct):
    """A buffered answer, or one event of a stream."""

    choices: list[answers.WithFilterResults] | None = None
    usage: answers.TokenUsage | None = None
    prompt_filter_results: list[answers.WithFilterResults] | None = None
    service_tier: str | None = None


_decoder = msgspec.json.Decoder(_Answer)


class ChoicesFormat:
    """The part of `InferenceFormat` that both operations share."""

    is_multipart = False
    prompt_members: tuple[str, ...]
    """The members of a body that are the prompt."""

    def prompt(self, parsed: ParsedBody) -> bytes:
        return bodies.prompt_of(parsed.raw, self.prompt_members)

    def read_completion(self, parsed: ParsedBody, body: bytes) -> Completion:  # noqa: ARG002 - the port
        answer = answers.read(_decoder, body)
        usage, at_least = answers.NO_USAGE if answer.usage is None else answer.usage.stated()
        has_output = usage is not None and (usage.output or usage.audio_output)
        texts = () if has_output else _texts_by_choice([answers.document_of(body)])
        return Completion(
            usage=usage,
            at_least=at_least,
            findings=frozenset(_findings_of(answer)),
            texts=texts,
            service_tier=answer.service_tier or "",
        )

    def filtered_prompt(self, status: int, body: bytes) -> frozenset[str] | None:
        return answers.filtered_prompt(status, body)

    def error_event(self, code: str, message: str) -> bytes:
        return answers.error_event(code, message)


class ChoiceReader(EventReader):
    """Reads the events of a streamed answer."""

    ending_marks = (_USAGE_MARK, DONE)

    def __init__(self, *, releases_usage: bool) -> None:
        """`releases_usage` says that the caller has asked for the usage event."""
        super().__init__()
        self._releases_usage = releases_usage

    def read_ending_event(self, data: bytes) -> bool:
        if data == DONE:
            self.ended = True
            return False
        answer = answers.read_or_none(_decoder, data)
        if answer is None:
            return True
        self._record(answer, data)
        # Only an event that has nothing but usage is withheld: some servers state usage beside choices.
        return answer.usage is None or bool(answer.choices) or self._releases_usage

    def read_findings(self, data: bytes) -> None:
        answer = answers.read_or_none(_decoder, data)
        if answer is not None:
            self._record(answer, data)

    def texts(self, events: bytes) -> Sequence[str]:
        return _texts_by_choice([answers.document_of(data_of(event)) for event in events_in(events)])

    def _record(self, answer: _Answer, data: bytes) -> None:
        self.findings.update(_findings_of(answer))
        self.service_tier = answer.service_tier or self.service_tier
        if answer.usage is not None:
            self.take_usage(answer.usage.stated())
        elif self.usage is not None and _texts_by_choice([answers.document_of(data)]):
            self.disown_usage()


_reader_withholding_usage: Final = partial(ChoiceReader, releases_usage=False)
_reader_releasing_usage: Final = partial(ChoiceReader, releases_usage=True)


def sampling_defaults(route: Route, stated: Container[str]) -> dict[str, Any]:
    """Return the deployment's sampling defaults that the caller left out and the model accepts, as members to set.

    `stated` are the members that the caller sent. A model that reasons accepts none.
    """
    deployment = route.deployment
    if not deployment.has_sampling or reasons(route.backend.model):
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


def _findings_of(answer: _Answer) -> list[str]:
    return answers.findings_of((*(answer.prompt_filter_results or ()), *(answer.choices or ())))


def _texts_by_choice(documents: Iterable[Mapping[str, object]]) -> list[str]:
    """Return the generated text of each choice, joined, so that its tokens are counted as in one text."""
    texts: dict[str, list[str]] = defaultdict(list)
    for document in documents:
        for position, choice in enumerate(answers.dicts_in(document.get("choices"))):
            shown = [choice.get(name) for name in ("text", "delta", "message")]
            texts[str(choice.get("index", position))].append(answers.generated_text(shown))
    return [text for parts in texts.values() if (text := "".join(parts))]
