"""The wire format of the Responses API.

https://learn.microsoft.com/azure/ai-services/openai/how-to/responses. Stored data by reference and hosted tools are
refused: see `references.py` and `tools.py`.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from shared.adapters.azure_openai.formats import answers, bodies
from shared.adapters.azure_openai.formats.buffered import BufferedFormat
from shared.adapters.azure_openai.formats.choices import sampling_defaults
from shared.adapters.azure_openai.formats.pricing import named_tier, tokens_basis
from shared.adapters.azure_openai.formats.references import check_members, check_nested
from shared.adapters.azure_openai.formats.response_input import input_of
from shared.adapters.azure_openai.formats.tools import RESPONSE_TOOLS, check_tools
from shared.adapters.azure_openai.formats.typed_events import TypedEventReader
from shared.domain.identifiers import usable_response_id
from shared.domain.inference.parsed_body import BOUNDED, Completion, ParsedBody
from shared.domain.routing.catalog import Route

_TOKENS_PRIMING_THE_ANSWER: Final = 3
_TOKENS_OF_ITEM: Final = 4
_MARGIN_PER_ITEM: Final = 4
_MARGIN: Final = 32
_RUNNING_STATES: Final = frozenset({"queued", "in_progress"})
_LAST_TYPES: Final = ("response.completed", "response.failed", "response.incomplete", "response.cancelled", "error")
_COMPACTED: Final = frozenset({"input", "output"})
"""Compaction reads and writes tokens beside those of the answer."""
_REFUSED: Final = ("conversation", "prompt")
_NOT_INPUT: Final = frozenset({
    "background", "include", "input", "max_output_tokens", "max_tool_calls", "metadata", "model",
    "parallel_tool_calls", "previous_response_id", "prompt_cache_key", "prompt_cache_retention", "reasoning",
    "safety_identifier", "service_tier", "store", "stream", "stream_options", "temperature", "top_logprobs", "top_p",
    "truncation", "user",
})  # fmt: skip
"""Members that are no input of the model, but for the items. Every other member is counted as text."""


class _Answer(msgspec.Struct):
    """A response, as a buffered answer or inside an event."""

    id: str = ""
    status: str = ""
    background: Any = None
    usage: answers.InputOutputUsage | None = None
    content_filters: list[answers.WithFilterResults] | None = None
    service_tier: str | None = None


class _Event(msgspec.Struct):
    type: str = ""
    delta: Any = None
    response: _Answer | None = None


_answer_decoder = msgspec.json.Decoder(_Answer)
_event_decoder = msgspec.json.Decoder(_Event)


class ResponseReader(TypedEventReader):
    """Reads the events of a streamed response."""

    ending_marks = (
        b"response.completed",
        b"response.failed",
        b"response.incomplete",
        b"response.created",  # not an ending: it states the id, by which a cut stream is settled later
        b"event: error",
    )

    def read_ending_event(self, data: bytes) -> bool:
        event = answers.read_or_none(_event_decoder, data)
        if event is None:
            return True
        is_last = event.type in _LAST_TYPES
        if event.response is not None:
            self._read(event.response, is_last=is_last)
        elif isinstance(event.delta, str):
            self.disown_usage()
        self.ended = self.ended or is_last
        return not self.ended

    def _read(self, response: _Answer, *, is_last: bool) -> None:
        self.response_id = self.response_id or usable_response_id(response.id)
        self.is_background = self.is_background or response.background is True
        self.findings.update(answers.findings_of(response.content_filters or ()))
        self.service_tier = response.service_tier or self.service_tier
        if is_last and response.usage is not None:
            self.take_usage(response.usage.stated())


class Responses(BufferedFormat):
    """Implements `InferenceFormat` for `/responses`."""

    operation = "responses"
    prompt_members = ("input", "instructions")

    def read_request(self, body: bytes, content_type: str) -> ParsedBody:
        fields = bodies.read(body)
        check_tools(fields.get("tools"), RESPONSE_TOOLS)
        check_members(fields, _REFUSED)
        check_nested(fields, "prompt_cache_options", "comparison_response_id")
        given = fields.get("input")
        items = given if isinstance(given, list) else [given]
        texts, media = input_of(items)
        extra_items = 0 if fields.get("instructions") is None else 1
        others = [bodies.texts_in(value) for name, value in fields.items() if name not in _NOT_INPUT]
        return ParsedBody(
            raw=body,
            content_type=content_type,
            model=bodies.text(fields, "model"),
            reader=ResponseReader if bodies.flag(fields, "stream") else None,
            user=bodies.first_text(fields.get("user"), fields.get("safety_identifier")),
            texts=texts + [text for each in others for text in each],
            fixed_tokens=_TOKENS_PRIMING_THE_ANSWER + _TOKENS_OF_ITEM * (len(items) + extra_items),
            input_margin=_MARGIN + _MARGIN_PER_ITEM * len(items),
            media=media.tokens if media else None,
            basis=tokens_basis(fields, has_audio=media.has_audio),
            service_tier=named_tier(fields),
            unbounded=BOUNDED if fields.get("context_management") is None else _COMPACTED,
            choices=1,
            max_output_tokens=bodies.integer(fields, "max_output_tokens", bodies.MOST_TOKENS),
            previous_response_id=bodies.text(fields, "previous_response_id") or "",
            may_run_on=True,
            is_background=bool(bodies.flag(fields, "background")),
            is_stored=bodies.flag(fields, "store") is not False,
        )

    def forwarded_body(self, parsed: ParsedBody, route: Route, model: str | None) -> bytes:
        members: dict[str, Any] = {} if model is None else {"model": model}
        if route.deployment.has_defaults:
            members |= _defaults(parsed, route)
        return bodies.with_members(parsed.raw, members)

    def read_completion(self, parsed: ParsedBody, body: bytes) -> Completion:  # noqa: ARG002 - the port
        answer = answers.read(_answer_decoder, body)
        usage, at_least = answers.NO_USAGE if answer.usage is None else answer.usage.stated()
        return Completion(
            usage=usage,
            at_least=at_least,
            findings=frozenset(answers.findings_of(answer.content_filters or ())),
            texts=() if usage is not None and usage.output_tokens else _texts_of(body),
            service_tier=answer.service_tier or "",
            response_id=usable_response_id(answer.id),
            is_running=answer.status in _RUNNING_STATES,
            has_failed=answer.status == "failed",
        )


def _defaults(parsed: ParsedBody, route: Route) -> dict[str, Any]:
    """Return the deployment's defaults that the caller left out and the model accepts, as members to set."""
    deployment, fields = route.deployment, bodies.members_of(parsed.raw)
    members = sampling_defaults(route, fields)
    if deployment.max_output_tokens is not None and parsed.max_output_tokens is None:
        members["max_output_tokens"] = deployment.max_output_tokens
    if deployment.system_prompt:
        own = bodies.first_text(fields.get("instructions"))
        members["instructions"] = f"{deployment.system_prompt}\n\n{own}" if own else deployment.system_prompt
    return members


def _texts_of(body: bytes) -> list[str]:
    """Return the generated text of each item of output."""
    texts = (answers.generated_text(item) for item in answers.dicts_in(answers.document_of(body).get("output")))
    return [text for text in texts if text]
