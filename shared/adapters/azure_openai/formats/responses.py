"""The wire format of the Responses API.

https://learn.microsoft.com/azure/ai-services/openai/how-to/responses. Two kinds of requests are refused. Conversations
and items by reference could be another tenant's, because tenants share an Azure resource. Hosted tools are billed by
other units than tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from shared.adapters.azure_openai.formats import answers, bodies
from shared.adapters.azure_openai.formats.buffered import BufferedFormat
from shared.adapters.azure_openai.formats.choices import sampling_defaults
from shared.adapters.azure_openai.formats.media import NO_TOKENS, TokenEstimate, file_tokens, image_tokens
from shared.adapters.azure_openai.formats.typed_events import TypedEventReader
from shared.domain.errors import InvalidRequest
from shared.domain.inference.parsed_body import Completion, ParsedBody
from shared.domain.routing.catalog import Route

_TOKENS_PRIMING_THE_ANSWER: Final = 3
_TOKENS_OF_ITEM: Final = TokenEstimate(3, 3)
_TOKENS_OF_ITEM_WITH_ROLE: Final = TokenEstimate(4, 4)
_NOT_READ: Final = frozenset({"type", "id", "status"})
"""Members of an item that the model does not read."""
_MARGIN_PER_ITEM: Final = 4
_MARGIN: Final = 32
_ALLOWED_TOOLS: Final = frozenset({"function", "custom", "local_shell", "shell", "apply_patch", "computer_use_preview"})
_RUNNING_STATES: Final = frozenset({"queued", "in_progress"})
_LAST_TYPES: Final = ("response.completed", "response.failed", "response.incomplete", "response.cancelled", "error")
_IMAGE_TYPES: Final = frozenset({"input_image", "computer_screenshot"})
_MEDIA_TYPES: Final = _IMAGE_TYPES | {"input_file", "input_audio"}


class _Body(msgspec.Struct):
    """The fields of a request that the gateway reads, of whatever types the caller sent."""

    model: Any = None
    input: Any = None
    instructions: Any = None
    stream: Any = None
    background: Any = None
    store: Any = None
    previous_response_id: Any = None
    conversation: Any = None
    max_output_tokens: Any = None
    tools: Any = None
    user: Any = None
    safety_identifier: Any = None
    temperature: msgspec.Raw = msgspec.Raw()
    top_p: msgspec.Raw = msgspec.Raw()
    text: msgspec.Raw = msgspec.Raw()
    prompt: msgspec.Raw = msgspec.Raw()


class _Answer(msgspec.Struct):
    """A response, as a buffered answer or inside an event."""

    id: str = ""
    status: str = ""
    usage: answers.InputOutputUsage | None = None
    output: list[msgspec.Raw] | None = None
    content_filters: list[answers.WithFilterResults] | None = None
    service_tier: str | None = None


class _Event(msgspec.Struct):
    type: str = ""
    response: _Answer | None = None


_decoder = msgspec.json.Decoder(_Body)
_answer_decoder = msgspec.json.Decoder(_Answer)
_event_decoder = msgspec.json.Decoder(_Event)
_output_decoder = msgspec.json.Decoder(dict[str, Any])


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
        response = event.response
        if response is not None:
            self.response_id = response.id
            self.findings.update(answers.findings_of(response.content_filters or ()))
            self.service_tier = response.service_tier or self.service_tier
            if response.usage is not None:
                self.usage = response.usage.disjoint()
        self.ended = event.type in _LAST_TYPES
        return not self.ended


class Responses(BufferedFormat):
    """Implements `InferenceFormat` for `/responses`."""

    operation = "responses"

    def read_request(self, body: bytes, content_type: str) -> ParsedBody:
        fields = bodies.read(_decoder, body)
        if fields.conversation is not None:
            raise InvalidRequest("'conversation' is not supported: use 'previous_response_id'.", "conversation")
        _check_tools(fields.tools)
        items = fields.input if isinstance(fields.input, list) else [fields.input]
        texts, tokens = _input_of(items, str(fields.model))
        if fields.instructions is not None:
            texts += bodies.texts_in(fields.instructions)
            tokens += _TOKENS_OF_ITEM_WITH_ROLE
        texts += bodies.texts_in(fields.tools)
        return ParsedBody(
            raw=body,
            content_type=content_type,
            model=bodies.text_or_none(fields.model),
            reader=ResponseReader if fields.stream is True else None,
            user=bodies.first_text(fields.user, fields.safety_identifier),
            texts=texts + bodies.raw_texts((fields.text, fields.prompt)),
            fixed_tokens=_TOKENS_PRIMING_THE_ANSWER + tokens.usual,
            input_margin=_MARGIN + _MARGIN_PER_ITEM * len(items) + tokens.most - tokens.usual,
            choices=1,
            max_output_tokens=bodies.largest_positive(fields.max_output_tokens),
            previous_response_id=bodies.first_text(fields.previous_response_id),
            is_background=fields.background is True,
            is_stored=fields.store is not False,
        )

    def forwarded_body(self, parsed: ParsedBody, route: Route, model: str | None) -> bytes:
        members: dict[str, Any] = {} if model is None else {"model": model}
        if route.deployment.has_defaults:
            members |= _defaults(parsed, route)
        return bodies.with_members(parsed.raw, members)

    def read_completion(self, parsed: ParsedBody, body: bytes) -> Completion:  # noqa: ARG002 - the port
        answer = answers.read(_answer_decoder, body)
        return Completion(
            usage=None if answer.usage is None else answer.usage.disjoint(),
            findings=frozenset(answers.findings_of(answer.content_filters or ())),
            texts=[] if answer.usage else [text for item in answer.output or () for text in _texts_of(item)],
            service_tier=answer.service_tier or "",
            response_id=answer.id,
            is_running=answer.status in _RUNNING_STATES,
        )


def _defaults(parsed: ParsedBody, route: Route) -> dict[str, Any]:
    """Return the deployment's defaults that the caller left out and the model accepts, as members to set."""
    deployment, fields = route.deployment, bodies.read(_decoder, parsed.raw)
    members = sampling_defaults(
        route, has_temperature=bool(bytes(fields.temperature)), has_top_p=bool(bytes(fields.top_p))
    )
    if deployment.max_output_tokens is not None and parsed.max_output_tokens is None:
        members["max_output_tokens"] = deployment.max_output_tokens
    if deployment.system_prompt:
        own = bodies.first_text(fields.instructions)
        members["instructions"] = f"{deployment.system_prompt}\n\n{own}" if own else deployment.system_prompt
    return members


def _check_tools(tools: object) -> None:
    """Raise `InvalidRequest` if the request has a hosted tool."""
    for tool in tools if isinstance(tools, list) else ():
        kind = bodies.text_or_none(tool.get("type")) if isinstance(tool, dict) else None
        if kind not in _ALLOWED_TOOLS:
            raise InvalidRequest(
                f"Tools of type '{str(kind)[:64]}' are not supported: Azure stores data for them or bills other units.",
                "tools",
            )


def _input_of(items: Sequence[object], model: str) -> tuple[list[str], TokenEstimate]:
    """Return all texts of the items, and the tokens of everything else. Raises `InvalidRequest`."""
    texts: list[str] = []
    tokens = NO_TOKENS
    for item in items:
        if not isinstance(item, dict):
            texts += bodies.texts_in(item)
            tokens += _TOKENS_OF_ITEM_WITH_ROLE  # a bare string is a message of the user
            continue
        tokens += _TOKENS_OF_ITEM
        if item.get("type") == "item_reference":
            raise InvalidRequest(
                "Items by reference are not supported: send the item itself, or 'previous_response_id'.", "input"
            )
        for part in _parts_of(item):
            kind = bodies.text_or_none(part.get("type")) if isinstance(part, dict) else None
            if isinstance(part, dict) and kind in _MEDIA_TYPES:
                tokens += image_tokens(model, part.get("detail")) if kind in _IMAGE_TYPES else file_tokens(part)
            else:
                texts += bodies.texts_in(part)
    return texts, tokens


def _parts_of(item: dict[str, Any]) -> list[object]:
    """Return the parts of an item that the model reads. A list counts as its elements, a text part as its text."""
    parts: list[object] = []
    for name, value in item.items():
        if name not in _NOT_READ:
            parts += value if isinstance(value, list) else [value]
    return [part.get("text", part) if isinstance(part, dict) else part for part in parts]


def _texts_of(item: msgspec.Raw) -> list[str]:
    """Return the generated texts in one item of output."""
    fields = answers.read_or_none(_output_decoder, bytes(item)) or {}
    texts = [fields[name] for name in ("arguments", "input") if isinstance(fields.get(name), str)]
    for name in ("content", "summary"):
        parts = fields.get(name)
        for part in parts if isinstance(parts, list) else ():
            texts += [
                part[key] for key in ("text", "refusal") if isinstance(part, dict) and isinstance(part.get(key), str)
            ]
    return texts
