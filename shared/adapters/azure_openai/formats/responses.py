"""The wire format of the Responses API.

https://learn.microsoft.com/azure/ai-services/openai/how-to/responses. Refused is what another tenant could have put
into the same Azure resource (conversations, items by reference) and what Azure bills beside tokens (hosted tools).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from shared.adapters.azure_openai.formats import answers, bodies
from shared.adapters.azure_openai.formats.buffered import BufferedFormat
from shared.adapters.azure_openai.formats.choices import defaults_for
from shared.adapters.azure_openai.formats.media import file_tokens, image_tokens
from shared.adapters.azure_openai.formats.typed_events import TypedEventReader
from shared.domain.errors import InvalidRequest
from shared.domain.inference.parsed_body import Completion, ParsedBody
from shared.domain.routing.catalog import Route

_TOKENS_PRIMING_THE_ANSWER: Final = 3
_TOKENS_PER_ITEM: Final = 3
_TOKENS_OF_ROLE: Final = 1
_NOT_READ: Final = frozenset({"type", "id", "status"})
_MARGIN_PER_ITEM: Final = 4
_MARGIN: Final = 32
_TOOLS: Final = frozenset({"function", "custom", "local_shell", "shell", "apply_patch", "computer_use_preview"})
_RUNNING: Final = frozenset({"queued", "in_progress"})
_ENDINGS: Final = ("response.completed", "response.failed", "response.incomplete", "response.cancelled", "error")
_IMAGES: Final = frozenset({"input_image", "computer_screenshot"})
_MEDIA: Final = _IMAGES | {"input_file", "input_audio"}


class _Body(msgspec.Struct):
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
    """A response, whole or within an event."""

    id: str = ""
    status: str = ""
    usage: answers.InOutUsage | None = None
    output: list[msgspec.Raw] | None = None
    content_filters: list[answers.Judged] | None = None
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

    marks = (b"response.completed", b"response.failed", b"response.incomplete", b"response.created", b"event: error")

    def read_ending(self, data: bytes) -> bool:
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
        self.ended = event.type in _ENDINGS
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
        texts, usual, most = _input_of(items, str(fields.model))
        if fields.instructions is not None:
            texts += bodies.texts_in(fields.instructions)
            usual, most = usual + _TOKENS_PER_ITEM + _TOKENS_OF_ROLE, most + _TOKENS_PER_ITEM + _TOKENS_OF_ROLE
        texts += bodies.texts_in(fields.tools)
        return ParsedBody(
            raw=body,
            content_type=content_type,
            model=bodies.text_or_none(fields.model),
            reader=ResponseReader if fields.stream is True else None,
            user=bodies.first_text(fields.user, fields.safety_identifier),
            texts=texts + bodies.raw_texts((fields.text, fields.prompt)),
            fixed_tokens=_TOKENS_PRIMING_THE_ANSWER + usual,
            input_margin=_MARGIN + _MARGIN_PER_ITEM * len(items) + most - usual,
            choices=1,
            max_output_tokens=bodies.largest(fields.max_output_tokens),
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
            is_running=answer.status in _RUNNING,
        )


def _defaults(parsed: ParsedBody, route: Route) -> dict[str, Any]:
    """The deployment's defaults that the caller left out and the model accepts."""
    deployment, fields = route.deployment, bodies.read(_decoder, parsed.raw)
    members = defaults_for(route, has_temperature=bool(bytes(fields.temperature)), has_top_p=bool(bytes(fields.top_p)))
    if deployment.max_output_tokens is not None and parsed.max_output_tokens is None:
        members["max_output_tokens"] = deployment.max_output_tokens
    if deployment.system_prompt:
        own = bodies.first_text(fields.instructions)
        members["instructions"] = f"{deployment.system_prompt}\n\n{own}" if own else deployment.system_prompt
    return members


def _check_tools(tools: object) -> None:
    for tool in tools if isinstance(tools, list) else ():
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind not in _TOOLS:
            raise InvalidRequest(
                f"Tools of type '{str(kind)[:64]}' are not supported: Azure bills or stores beside tokens for them.",
                "tools",
            )


def _input_of(items: Sequence[object], model: str) -> tuple[list[str], int, int]:
    """Every text of the items, and the tokens that what they hold beside texts usually is and at most can be."""
    texts: list[str] = []
    usual = most = 0
    for item in items:
        usual, most = usual + _TOKENS_PER_ITEM, most + _TOKENS_PER_ITEM
        if not isinstance(item, dict):
            texts += bodies.texts_in(item)
            usual, most = usual + _TOKENS_OF_ROLE, most + _TOKENS_OF_ROLE
            continue
        if item.get("type") == "item_reference":
            raise InvalidRequest("Items by reference are not supported: send the item, or its response's id.", "input")
        for part in _parts_of(item):
            if isinstance(part, dict) and part.get("type") in _MEDIA:
                is_image = part["type"] in _IMAGES
                each = image_tokens(model, part.get("detail")) if is_image else file_tokens(part)
                usual, most = usual + each[0], most + each[1]
            else:
                texts += bodies.texts_in(part)
    return texts, usual, most


def _parts_of(item: dict[str, Any]) -> list[object]:
    """What a model reads of an item, the parts of its lists one by one; of a part that is a text, the text."""
    parts: list[object] = []
    for name, value in item.items():
        if name not in _NOT_READ:
            parts += value if isinstance(value, list) else [value]
    return [part.get("text", part) if isinstance(part, dict) else part for part in parts]


def _texts_of(item: msgspec.Raw) -> list[str]:
    """What was generated in one item of output."""
    fields = answers.read_or_none(_output_decoder, bytes(item)) or {}
    texts = [fields[name] for name in ("arguments", "input") if isinstance(fields.get(name), str)]
    for name in ("content", "summary"):
        parts = fields.get(name)
        for part in parts if isinstance(parts, list) else ():
            texts += [
                part[key] for key in ("text", "refusal") if isinstance(part, dict) and isinstance(part.get(key), str)
            ]
    return texts
