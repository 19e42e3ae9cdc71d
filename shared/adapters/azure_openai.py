"""The wire format of Azure OpenAI's chat completions: the only place that knows prompt and completion tokens.

https://learn.microsoft.com/azure/ai-services/openai/reference. Input is counted by OpenAI's published rule for chat
(https://github.com/openai/openai-cookbook, "How to count tokens with tiktoken").
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from shared.application.ports import Completion, InferenceRequest
from shared.domain.content_filter import flagged_categories
from shared.domain.errors import BackendBroken, InvalidRequest
from shared.domain.usage import Usage, disjoint_usage

_TOKENS_PER_MESSAGE: Final = 3
_TOKENS_PER_NAME: Final = 1
_TOKENS_PRIMING_THE_ANSWER: Final = 3
_MARGIN_PER_MESSAGE: Final = 1
_MARGIN_PER_REQUEST: Final = 16
_IMAGE_TOKENS: Final = 1445
_IMAGE_TOKENS_OF_MINI: Final = 48_169
_USAGE: Final = b'"completion_tokens"'
_VERDICT: Final = b'ed":true'
_VERDICT_SPACED: Final = b'ed": true'
_DONE: Final = b"[DONE]"
_BLANK_LINE: Final = re.compile(rb"\r?\n\r?\n")


class _Lenient(msgspec.Struct):
    """The fields of a request that the gateway reads, with whatever types a caller may have sent."""

    model: Any = None
    stream: Any = None
    stream_options: Any = None
    messages: Any = None
    max_tokens: Any = None
    max_completion_tokens: Any = None
    n: Any = None
    user: Any = None
    safety_identifier: Any = None
    tools: msgspec.Raw = msgspec.Raw()
    functions: msgspec.Raw = msgspec.Raw()
    response_format: msgspec.Raw = msgspec.Raw()


class _Details(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    audio_tokens: int | None = None
    reasoning_tokens: int | None = None


class _UsageObject(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None


class _Message(msgspec.Struct):
    content: Any = None
    refusal: Any = None
    tool_calls: msgspec.Raw = msgspec.Raw()


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Message | None = None
    message: _Message | None = None
    content_filter_results: dict[str, Any] | None = None


class _PromptVerdict(msgspec.Struct):
    content_filter_results: dict[str, Any] | None = None


class _Answer(msgspec.Struct):
    """A buffered answer or one streamed chunk."""

    choices: list[_Choice] | None = None
    usage: _UsageObject | None = None
    prompt_filter_results: list[_PromptVerdict] | None = None


_request_decoder = msgspec.json.Decoder(_Lenient)
_members_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_answer_decoder = msgspec.json.Decoder(_Answer)
_any_decoder = msgspec.json.Decoder()


class ChatCompletions:
    """Implements `InferenceFormat` for `/chat/completions`."""

    def read_request(self, body: bytes) -> InferenceRequest:
        try:
            fields = _request_decoder.decode(body)
        except (msgspec.MsgspecError, RecursionError, UnicodeError):
            raise InvalidRequest("The body is not a valid JSON object.") from None
        if not isinstance(fields.messages, list) or not fields.messages:
            raise InvalidRequest("'messages' is required and must be a non-empty array.", "messages")
        streamed = fields.stream is True
        options = fields.stream_options if isinstance(fields.stream_options, dict) else {}
        texts, images = _input_of(fields.messages)
        for raw in (fields.tools, fields.functions, fields.response_format):
            texts.append(bytes(raw).decode(errors="replace"))
        per_message = _TOKENS_PER_MESSAGE * len(fields.messages)
        per_image = _IMAGE_TOKENS_OF_MINI if "mini" in str(fields.model) else _IMAGE_TOKENS
        return InferenceRequest(
            body=body,
            model=fields.model if isinstance(fields.model, str) else None,
            streamed=streamed,
            wants_usage=options.get("include_usage") is True,
            max_output_tokens=_largest(fields.max_tokens, fields.max_completion_tokens),
            choices=_largest(fields.n) or 1,
            user=_first_text(fields.user, fields.safety_identifier),
            texts=[text for text in texts if text],
            fixed_tokens=per_message + _TOKENS_PRIMING_THE_ANSWER + images * per_image,
            input_margin=_MARGIN_PER_REQUEST + _MARGIN_PER_MESSAGE * len(fields.messages),
        )

    def forwarded_body(self, request: InferenceRequest, model: str | None, max_output_tokens: int | None) -> bytes:
        asks_for_usage = request.streamed and not request.wants_usage
        if model is None and max_output_tokens is None and not asks_for_usage:
            return request.body
        members: dict[str, Any] = dict(_members_decoder.decode(request.body))
        if model is not None:
            members["model"] = model
        if max_output_tokens is not None:
            members["max_completion_tokens"] = max_output_tokens
        if asks_for_usage:
            options = _any_decoder.decode(members["stream_options"]) if "stream_options" in members else None
            members["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
        return msgspec.json.encode(members)

    def read_completion(self, body: bytes) -> Completion:
        answer = _decode_answer(body)
        if answer is None:
            raise BackendBroken("The backend's answer is not valid JSON.")
        usage = _usage_of(answer)
        texts = _texts_by_choice([answer]) if usage is None else ()
        return Completion(usage, frozenset(_verdicts_of(answer)), texts)

    def filtered_prompt(self, status: int, body: bytes) -> frozenset[str] | None:
        if status != 400 or b"content_filter" not in body:
            return None
        try:
            error = _any_decoder.decode(body)["error"]
            if error["code"] != "content_filter":
                return None
            inner = error.get("innererror") or {}
            return frozenset(flagged_categories(inner.get("content_filter_result") or {}))
        except (msgspec.MsgspecError, KeyError, TypeError, AttributeError):
            return None

    def event_reader(self, request: InferenceRequest) -> ChatEventReader:
        return ChatEventReader(releases_usage=request.wants_usage)

    def error_event(self, code: str, message: str) -> bytes:
        error = {"code": code, "message": message, "type": code, "param": None}
        return b"data: %b\n\n" % msgspec.json.encode({"error": error})


class ChatEventReader:
    """Implements `EventReader`: passes events on as they are and parses only those that carry usage or a verdict."""

    def __init__(self, *, releases_usage: bool) -> None:
        self.usage: Usage | None = None
        self.content_filter: set[str] = set()
        self.ended = False
        self._releases_usage = releases_usage
        self._incomplete = b""
        self._withheld = b""

    def feed(self, chunk: bytes) -> bytes:
        if self.ended:
            self._withheld += chunk
            return b""
        if self._incomplete:
            chunk = self._incomplete + chunk
            self._incomplete = b""
        if not chunk.endswith((b"\n\n", b"\r\n\r\n")):
            end = _end_of_last_event(chunk)
            self._incomplete = chunk[end:]
            chunk = chunk[:end]
        end = len(chunk)
        while (mark := max(chunk.rfind(_USAGE, 0, end), chunk.rfind(_DONE, 0, end))) >= 0:
            end = _end_of_last_event(chunk, mark)
        if end == len(chunk):
            self._note_verdicts(chunk)
            return chunk
        self._note_verdicts(chunk[:end])
        return chunk[:end] + self._read_ending(chunk[end:])

    def ending(self) -> bytes:
        return self._withheld + self._incomplete

    def texts(self, events: bytes) -> Sequence[str]:
        answers = (_decode_answer(data) for data in _payloads(events))
        return _texts_by_choice([answer for answer in answers if answer is not None])

    def _read_ending(self, chunk: bytes) -> bytes:
        """Take usage from the events of a chunk, drop the usage event if it was not asked for, hold `[DONE]` back."""
        released: list[bytes] = []
        for event in _events(chunk):
            if self.ended:
                self._withheld += event
                continue
            data = next(_payloads(event), b"")
            if data == _DONE:
                self.ended = True
                self._withheld += event
                continue
            answer = _decode_answer(data)
            if answer is not None:
                self.content_filter.update(_verdicts_of(answer))
                self.usage = _usage_of(answer) or self.usage
                if answer.usage is not None and not answer.choices and not self._releases_usage:
                    continue
            released.append(event)
        return b"".join(released)

    def _note_verdicts(self, events: bytes) -> None:
        """Searching backwards costs half of `in`, which first asks whether it is given a number."""
        if events.rfind(_VERDICT) < 0 and events.rfind(_VERDICT_SPACED) < 0:
            return
        for data in _payloads(events):
            answer = _decode_answer(data)
            if answer is not None:
                self.content_filter.update(_verdicts_of(answer))


def _end_of_last_event(chunk: bytes, before: int | None = None) -> int:
    newline = chunk.rfind(b"\n\n", 0, before)
    end = newline + 2 if newline >= 0 else 0
    crlf = chunk.rfind(b"\r\n\r\n", end, before)
    return crlf + 4 if crlf >= 0 else end


def _events(chunk: bytes) -> Iterator[bytes]:
    """The complete events of a chunk, each with the blank line that ends it."""
    start = 0
    for blank_line in _BLANK_LINE.finditer(chunk):
        yield chunk[start : blank_line.end()]
        start = blank_line.end()


def _payloads(events: bytes) -> Iterator[bytes]:
    for line in events.splitlines():
        if line.startswith(b"data:"):
            yield line[5:].strip()


def _decode_answer(data: bytes) -> _Answer | None:
    try:
        return _answer_decoder.decode(data)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        return None


def _usage_of(answer: _Answer) -> Usage | None:
    usage = answer.usage
    if usage is None:
        return None
    prompt = usage.prompt_tokens_details or _Details()
    completion = usage.completion_tokens_details or _Details()
    return disjoint_usage(
        prompt=usage.prompt_tokens,
        completion=usage.completion_tokens,
        cached=prompt.cached_tokens or 0,
        cache_write=prompt.cache_write_tokens or 0,
        audio_in=prompt.audio_tokens or 0,
        audio_out=completion.audio_tokens or 0,
        reasoning=completion.reasoning_tokens or 0,
    )


def _verdicts_of(answer: _Answer) -> Iterator[str]:
    for judged in (*(answer.prompt_filter_results or ()), *(answer.choices or ())):
        yield from flagged_categories(judged.content_filter_results or {})


def _texts_by_choice(answers: Sequence[_Answer]) -> list[str]:
    texts: dict[int, list[str]] = defaultdict(list)
    for answer in answers:
        for choice in answer.choices or ():
            message = choice.delta or choice.message
            if message is not None:
                parts = (message.content, message.refusal)
                texts[choice.index] += [part for part in parts if isinstance(part, str)]
                texts[choice.index].append(bytes(message.tool_calls).decode(errors="replace"))
    return ["".join(parts) for parts in texts.values()]


def _input_of(messages: Sequence[object]) -> tuple[list[str], int]:
    """Every text of the messages, and how many images they hold."""
    texts: list[str] = []
    images = 0
    for message in messages:
        if not isinstance(message, dict):
            continue
        for name, value in message.items():
            if name == "content" and isinstance(value, list):
                images += sum(_take_part(part, texts) for part in value)
            elif isinstance(value, str):
                texts.append(value)
            elif value is not None:
                texts.append(msgspec.json.encode(value).decode())
        if "name" in message:
            texts.append("\n" * _TOKENS_PER_NAME)
    return texts, images


def _take_part(part: object, texts: list[str]) -> bool:
    """Note the text of a content part; whether it is an image."""
    if not isinstance(part, dict):
        return False
    if part.get("type") == "image_url":
        return True
    texts.extend(value for name, value in part.items() if name != "type" and isinstance(value, str))
    return False


def _largest(*values: object) -> int | None:
    largest = 0
    for value in values:
        if type(value) is int and value > largest:
            largest = value
    return largest or None


def _first_text(*values: object) -> str:
    for value in values:
        if isinstance(value, str) and value:
            return value
    return ""
