"""The wire format of chat completions.

https://learn.microsoft.com/azure/ai-services/openai/reference. Input is counted by OpenAI's rule for chat messages:
https://github.com/openai/openai-cookbook, "How to count tokens with tiktoken".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from shared.adapters.azure_openai.formats import bodies
from shared.adapters.azure_openai.formats.choices import (
    ChoicesFormat,
    is_reasoning_model,
    members_asking_for_usage,
    reader_for,
    sampling_defaults,
)
from shared.adapters.azure_openai.formats.media import NO_TOKENS, TokenEstimate, file_tokens, image_tokens
from shared.domain.errors import InvalidRequest
from shared.domain.inference.parsed_body import ParsedBody
from shared.domain.routing.catalog import Route

_TOKENS_PER_MESSAGE: Final = 3
_TOKENS_PER_NAME: Final = 1
_TOKENS_PRIMING_THE_ANSWER: Final = 3
_MARGIN_PER_MESSAGE: Final = 1
_MARGIN_PER_REQUEST: Final = 16


class _Body(msgspec.Struct):
    """The fields of a request that the gateway reads, of whatever types the caller sent."""

    model: Any = None
    stream: Any = None
    stream_options: Any = None
    messages: Any = None
    max_tokens: Any = None
    max_completion_tokens: Any = None
    n: Any = None
    user: Any = None
    safety_identifier: Any = None
    temperature: msgspec.Raw = msgspec.Raw()
    top_p: msgspec.Raw = msgspec.Raw()
    tools: msgspec.Raw = msgspec.Raw()
    functions: msgspec.Raw = msgspec.Raw()
    response_format: msgspec.Raw = msgspec.Raw()
    prediction: msgspec.Raw = msgspec.Raw()


_decoder = msgspec.json.Decoder(_Body)


class ChatCompletions(ChoicesFormat):
    """Implements `InferenceFormat` for `/chat/completions`."""

    operation = "chat/completions"

    def read_request(self, body: bytes, content_type: str) -> ParsedBody:
        fields = bodies.read(_decoder, body)
        if not isinstance(fields.messages, list) or not fields.messages:
            raise InvalidRequest("'messages' is required and must be a non-empty array.", "messages")
        texts, media = _input_of(fields.messages, str(fields.model))
        texts += bodies.raw_texts((fields.tools, fields.functions, fields.response_format))
        return ParsedBody(
            raw=body,
            content_type=content_type,
            model=bodies.text_or_none(fields.model),
            reader=reader_for(fields.stream, fields.stream_options),
            max_output_tokens=bodies.largest_positive(fields.max_tokens, fields.max_completion_tokens),
            choices=bodies.largest_positive(fields.n) or 1,
            user=bodies.first_text(fields.user, fields.safety_identifier),
            texts=[text for text in texts if text],
            fixed_tokens=_TOKENS_PER_MESSAGE * len(fields.messages) + _TOKENS_PRIMING_THE_ANSWER + media.usual,
            input_margin=_MARGIN_PER_REQUEST + _MARGIN_PER_MESSAGE * len(fields.messages) + media.most - media.usual,
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
    deployment, fields = route.deployment, bodies.read(_decoder, parsed.raw)
    members = sampling_defaults(
        route, has_temperature=bool(bytes(fields.temperature)), has_top_p=bool(bytes(fields.top_p))
    )
    if deployment.max_output_tokens is not None and parsed.max_output_tokens is None:
        cap = "max_completion_tokens" if is_reasoning_model(route.backend.model) else "max_tokens"
        members[cap] = deployment.max_output_tokens
    if deployment.system_prompt:
        members["messages"] = [{"role": "system", "content": deployment.system_prompt}, *fields.messages]
    return members


def _input_of(messages: Sequence[object], model: str) -> tuple[list[str], TokenEstimate]:
    """Return all texts of the messages, and the tokens of their images, audio and files."""
    texts: list[str] = []
    media = NO_TOKENS
    for message in messages:
        if not isinstance(message, dict):
            continue
        for name, value in message.items():
            if name == "content" and isinstance(value, list):
                media = sum([_read_part(part, texts, model) for part in value], media)
            elif isinstance(value, str):
                texts.append(value)
            elif value is not None:
                texts.append(msgspec.json.encode(value).decode())
        if "name" in message:
            texts.append("\n" * _TOKENS_PER_NAME)  # a line feed is one token
    return texts, media


def _read_part(part: object, texts: list[str], model: str) -> TokenEstimate:
    """Append the texts of a content part to `texts`. Returns the tokens of an image, audio or file."""
    if not isinstance(part, dict):
        return NO_TOKENS
    match part.get("type"):
        case "image_url":
            image = part.get("image_url")
            return image_tokens(model, image.get("detail") if isinstance(image, dict) else None)
        case "input_audio" | "file":
            return file_tokens(part)
    texts.extend(value for name, value in part.items() if name != "type" and isinstance(value, str))
    return NO_TOKENS
