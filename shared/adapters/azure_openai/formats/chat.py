"""The wire format of chat completions.

https://learn.microsoft.com/azure/ai-services/openai/reference. Input is counted by OpenAI's rule for chat messages:
https://github.com/openai/openai-cookbook, "How to count tokens with tiktoken".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from shared.adapters.azure_openai.formats import bodies
from shared.adapters.azure_openai.formats.choices import (
    CHOICES,
    ChoicesFormat,
    members_asking_for_usage,
    reader_for,
    sampling_defaults,
)
from shared.adapters.azure_openai.formats.media import Media
from shared.adapters.azure_openai.formats.pricing import named_tier, tokens_basis
from shared.adapters.azure_openai.formats.references import (
    check_members,
    check_message_member,
    check_nested,
    check_part,
    check_voice,
)
from shared.adapters.azure_openai.formats.tools import CHAT_TOOLS, check_tools
from shared.domain.errors import InvalidRequest
from shared.domain.inference.model_facts import reasons
from shared.domain.inference.parsed_body import ParsedBody
from shared.domain.routing.catalog import Route

_TOKENS_PER_MESSAGE: Final = 3
_TOKENS_PER_NAME: Final = 1
_TOKENS_PRIMING_THE_ANSWER: Final = 3
_MARGIN_PER_MESSAGE: Final = 1
_MARGIN_PER_REQUEST: Final = 16
_TEXT_TYPES: Final = frozenset({"text", "refusal"})
_MEDIA_TYPES: Final = frozenset({"image_url", "input_audio", "audio_url", "file"})
_NOT_INPUT: Final = frozenset({
    "frequency_penalty", "logit_bias", "logprobs", "max_completion_tokens", "max_tokens", "messages", "metadata",
    "modalities", "model", "n", "parallel_tool_calls", "prediction", "presence_penalty", "prompt_cache_key",
    "prompt_cache_retention", "reasoning_effort", "safety_identifier", "seed", "service_tier", "stop", "store",
    "stream", "stream_options", "temperature", "top_logprobs", "top_p", "user", "verbosity",
})  # fmt: skip
"""Members that are no input of the model. Every other member is counted as text."""
_CAPS: Final = ("max_tokens", "max_completion_tokens")
"""Each upstream reads the cap that it knows."""
_BILLED_OTHERWISE: Final = ("data_sources", "dataSources", "enhancements", "web_search_options")
"""Azure reads tables of its own for them, or bills calls."""


class ChatCompletions(ChoicesFormat):
    """Implements `InferenceFormat` for `/chat/completions`."""

    operation = "chat/completions"
    prompt_members = ("messages",)

    def read_request(self, body: bytes, content_type: str) -> ParsedBody:
        fields = bodies.read(body)
        messages = fields.get("messages")
        if not isinstance(messages, list) or not messages:
            raise InvalidRequest("'messages' is required and must be a non-empty array.", "messages")
        texts, media = _input_of(messages)
        if not _NOT_INPUT.issuperset(fields):
            texts += _texts_beside_messages(fields)
        return ParsedBody(
            raw=body,
            content_type=content_type,
            model=bodies.text(fields, "model"),
            reader=reader_for(fields),
            max_output_tokens=bodies.largest(fields, _CAPS, bodies.MOST_TOKENS),
            choices=bodies.largest(fields, CHOICES, bodies.MOST_CHOICES) or 1,
            user=bodies.first_text(fields.get("user"), fields.get("safety_identifier")),
            texts=[text for text in texts if text],
            fixed_tokens=_TOKENS_PER_MESSAGE * len(messages) + _TOKENS_PRIMING_THE_ANSWER,
            input_margin=_MARGIN_PER_REQUEST + _MARGIN_PER_MESSAGE * len(messages),
            media=media.tokens if media else None,
            basis=tokens_basis(fields, has_audio=media.has_audio),
            service_tier=named_tier(fields),
            predictions=bodies.texts_in(fields.get("prediction")),
        )

    def forwarded_body(self, parsed: ParsedBody, route: Route, model: str | None) -> bytes:
        members = members_asking_for_usage(parsed)
        if model is not None:
            members["model"] = model
        if route.deployment.has_defaults:
            members |= _defaults(parsed, route)
        return bodies.with_members(parsed.raw, members)


def _defaults(parsed: ParsedBody, route: Route) -> dict[str, Any]:
    """Return the deployment's defaults that the caller left out and the model accepts, as members to set."""
    deployment, fields = route.deployment, bodies.members_of(parsed.raw)
    members = sampling_defaults(route, fields)
    if deployment.max_output_tokens is not None and parsed.max_output_tokens is None:
        cap = "max_completion_tokens" if reasons(route.backend.model) else "max_tokens"
        members[cap] = deployment.max_output_tokens
    if deployment.system_prompt:
        members["messages"] = [{"role": "system", "content": deployment.system_prompt}, *fields["messages"]]
    return members


def _texts_beside_messages(fields: Mapping[str, Any]) -> list[str]:
    """Return the JSON of all other members that the model may read. Raises `InvalidRequest`."""
    check_tools(fields.get("tools"), CHAT_TOOLS)
    check_members(fields, _BILLED_OTHERWISE)
    sound = fields.get("audio")
    check_voice(sound.get("voice") if isinstance(sound, dict) else None, "audio")
    check_nested(fields, "prompt_cache_options", "comparison_response_id")
    return [text for name, value in fields.items() if name not in _NOT_INPUT for text in bodies.texts_in(value)]


def _input_of(messages: Sequence[object]) -> tuple[list[str], Media]:
    """Return all texts of the messages, and their images, sounds and files. Raises `InvalidRequest`."""
    texts: list[str] = []
    media = Media()
    for message in messages:
        if not isinstance(message, dict):
            texts += bodies.texts_in(message)
            continue
        for name, value in message.items():
            if isinstance(value, str):
                texts.append(value)
            elif value is not None:
                _read_member(name, value, texts, media)
        if "name" in message:
            texts.append("\n" * _TOKENS_PER_NAME)  # a line feed is one token
    return texts, media


def _read_member(name: str, value: object, texts: list[str], media: Media) -> None:
    """Add the texts and media of a message's member that is no string. Raises `InvalidRequest`."""
    if name == "content":
        for part in value if isinstance(value, list) else [value]:
            _read_part(part, texts, media)
    else:
        check_message_member(name)
        texts += bodies.texts_in(value)


def _read_part(part: object, texts: list[str], media: Media) -> None:
    """Add the texts of a content part to `texts`, and an image, sound or file to `media`. Raises `InvalidRequest`."""
    if isinstance(part, dict):
        check_part(part, "messages")
        kind = bodies.text_or_none(part.get("type"))
        if kind in _TEXT_TYPES:
            for name, value in part.items():
                if name != "type":
                    texts += bodies.texts_in(value)
            return
        if kind in _MEDIA_TYPES:
            media.add(part)
            return
        media.add_unknown()
    texts += bodies.texts_in(part)
