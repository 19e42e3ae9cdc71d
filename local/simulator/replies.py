"""Replies of each operation: a whole body, or parts of a stream with the usage that Azure bills up to each."""

from __future__ import annotations

import base64
import hashlib
import io
import itertools
import json
import math
import random
import struct
import wave
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import splintr

from local.simulator import answers, wire

SPEECH_CHUNK_BYTES = 4_096
_BYTES_PER_SPOKEN_CHARACTER = 400
_MP3_MARKS = (b"\xff\xfb", b"ID3")
_MP3_FRAME_BYTES, _MP3_FRAME_SECONDS = 417, 1_152 / 44_100
_SPEECH_TOKENS_PER_CHARACTER = 1.25
_EMBEDDING_DIMENSIONS = {"text-embedding-3-large": 3072}
_IMAGE_TOKENS = {
    "low": {"1024x1024": 272, "1024x1536": 408, "1536x1024": 400},
    "medium": {"1024x1024": 1056, "1024x1536": 1584, "1536x1024": 1568},
    "high": {"1024x1024": 4160, "1024x1536": 6240, "1536x1024": 6208},
}
_PIXEL = base64.b64encode(b"\x89PNG not really").decode()


@dataclass(frozen=True, slots=True)
class Part:
    """Part of a stream, what would be billed if it were the last, and whether it carries a token."""

    content: bytes
    usage: dict[str, Any]
    is_token: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """`parts` is there where a stream was asked for or the operation always streams."""

    usage: dict[str, Any]
    content: bytes = b""
    content_type: str = "application/json"
    parts: Iterator[Part] | None = None
    kept: dict[str, Any] | None = None
    """A response that the simulator stores."""


class Refused(Exception):
    """A request that Azure refuses with 400 and this body. It bills `usage` all the same."""

    def __init__(self, body: dict[str, Any], usage: dict[str, Any] | None = None) -> None:
        super().__init__(body)
        self.body = body
        self.usage = usage


@dataclass(frozen=True, slots=True)
class Question:
    """A request: its fields, for a file also its content, and who answers."""

    body: dict[str, Any]
    model: str
    version: str
    number: int
    cached_tokens: int = 0
    context_tokens: int = 0
    sound: bytes = b""
    has_usage: bool = True


def chat(question: Question) -> Reply:
    body = question.body
    answer = answers.answer(body, question.model, question.cached_tokens)
    conversation = wire.Conversation(question.number, question.model, question.version, body.get("service_tier"))
    usage = answer.usage.document()
    if body.get("stream") is not True:
        return Reply(usage, _json(conversation.completion(answer, with_usage=question.has_usage)))
    include_usage = bool((body.get("stream_options") or {}).get("include_usage")) and question.has_usage

    def parts() -> Iterator[Part]:
        generated = 0
        for event, tokens in conversation.chunks(answer, include_usage=include_usage):
            generated += tokens
            so_far = answers.Usage(answer.usage.prompt_tokens, generated).document()
            yield Part(event, so_far, is_token=bool(tokens))

    return Reply(usage, content_type=wire.EVENTS, parts=parts())


def completions(question: Question) -> Reply:
    body = question.body
    prompts = _inputs(body["prompt"])
    tokens = sum(_tokens_of(prompt, cl100k=True) for prompt in prompts)
    room = body.get("max_tokens") or 16
    texts = []
    for prompt in prompts:
        for index in range(body.get("n") or 1):
            chosen = random.Random(_seed(question.model, prompt, index))
            texts.append("".join(answers.pieces(" ".join(chosen.choices(answers.WORDS, k=room)))[:room]))
    completion = sum(map(count_cl100k, texts)) * max(1, (body.get("best_of") or 1) // (body.get("n") or 1))
    usage = {"prompt_tokens": tokens, "completion_tokens": completion, "total_tokens": tokens + completion}
    head = {"id": f"cmpl-{_digest(question.number)[:29]}", "object": "text_completion", "created": wire.CREATED,
            "model": question.model}  # fmt: skip
    choices = [
        {"text": text, "index": index, "finish_reason": "length", "logprobs": None, "content_filter_results": wire.SAFE}
        for index, text in enumerate(texts)
    ]
    if body.get("stream") is not True:
        filters = [{"prompt_index": index, "content_filter_results": wire.SAFE} for index in range(len(prompts))]
        document = {**head, "choices": choices, "prompt_filter_results": filters}
        return Reply(usage, _json(document | ({"usage": usage} if question.has_usage else {})))
    include_usage = bool((body.get("stream_options") or {}).get("include_usage")) and question.has_usage

    def parts() -> Iterator[Part]:
        generated = 0
        for choice in choices:
            for piece in answers.pieces(str(choice["text"])):
                generated += count_cl100k(piece)
                so_far = {**usage, "completion_tokens": generated, "total_tokens": tokens + generated}
                fields = {**head, "choices": [{**choice, "text": piece, "finish_reason": None}]}
                yield Part(_event(fields), so_far, is_token=True)
        if include_usage:
            yield Part(_event({**head, "choices": [], "usage": usage}), usage)
        yield Part(b"data: [DONE]\n\n", usage)

    return Reply(usage, content_type=wire.EVENTS, parts=parts())


def embeddings(question: Question) -> Reply:
    body = question.body
    inputs = _inputs(body["input"])
    dimensions = body.get("dimensions") or _EMBEDDING_DIMENSIONS.get(question.model, 1536)
    tokens = sum(_tokens_of(each, cl100k=True) for each in inputs)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    data = []
    for index, each in enumerate(inputs):
        chosen = random.Random(_seed(question.model, each, 0))
        vector: Any = [round(chosen.uniform(-1, 1), 6) for _ in range(dimensions)]
        if body.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack(f"<{dimensions}f", *vector)).decode()
        data.append({"object": "embedding", "index": index, "embedding": vector})
    document = {"object": "list", "data": data, "model": question.model}
    return Reply(usage, _json(document | ({"usage": usage} if question.has_usage else {})))


def images(question: Question) -> Reply:
    body, made = question.body, question.body.get("n") or 1
    if question.model.startswith("dall-e"):
        if made > 1:
            raise Refused(wire.error("invalid_request_error", "You must provide n=1 for this model."))
        usage: dict[str, Any] = {
            "images": made, "quality": body.get("quality") or "standard", "size": body.get("size") or "1024x1024"
        }  # fmt: skip
        image = {"b64_json": _PIXEL, "revised_prompt": body["prompt"]}
        if body.get("response_format", "url") == "url":
            image = {"url": f"https://images.invalid/{_digest(question.number)}.png", "revised_prompt": body["prompt"]}
        judged = {**image, "content_filter_results": wire.SAFE, "prompt_filter_results": wire.SAFE}
        return Reply(usage, _json({"created": wire.CREATED, "data": [judged] * made}))
    quality, size = str(body.get("quality")), str(body.get("size"))
    quality = quality if quality in _IMAGE_TOKENS else "medium"
    size = size if size in _IMAGE_TOKENS[quality] else "1024x1024"
    prompt = answers.count(body["prompt"])
    output = _IMAGE_TOKENS[quality][size] * made
    usage = {
        "input_tokens": prompt,
        "input_tokens_details": {"image_tokens": 0, "text_tokens": prompt},
        "output_tokens": output,
        "total_tokens": prompt + output,
    }
    head = {"created": wire.CREATED, "background": "opaque", "output_format": "png", "quality": quality, "size": size}
    if body.get("stream") is not True:
        document = {**head, "data": [{"b64_json": _PIXEL}] * made}
        return Reply(usage, _json(document | ({"usage": usage} if question.has_usage else {})))

    def parts() -> Iterator[Part]:
        for index in range(body.get("partial_images") or 0):
            partial = {**head, "type": "image_generation.partial_image", "b64_json": _PIXEL}
            yield Part(wire.typed_event({**partial, "partial_image_index": index}), usage)
        yield Part(
            wire.typed_event({**head, "type": "image_generation.completed", "b64_json": _PIXEL, "usage": usage}), usage
        )

    return Reply(usage, content_type=wire.EVENTS, parts=parts())


def responses(question: Question) -> Reply:
    """A response; its document is what the simulator keeps of it."""
    body, question_text = question.body, response_text(question.body)
    filtered = answers.FILTERED_PROMPT_MARK in question_text
    prompt = response_tokens(body) + question.context_tokens
    if filtered:
        raise Refused(wire.filtered_prompt(), {"input_tokens": prompt, "output_tokens": 0, "total_tokens": prompt})
    chosen = random.Random(_seed(question.model, question_text, 0))
    reasoning = answers.REASONING_TOKENS if question.model.startswith(("o", "gpt-5")) else 0
    pieces = answers.pieces(" ".join(chosen.choices(answers.WORDS, k=answers.DEFAULT_ANSWER_TOKENS)))
    cap = body.get("max_output_tokens")
    kept = pieces[: max(0, cap - reasoning)] if cap else pieces
    output = len(kept) + min(reasoning, cap or reasoning)
    usage = {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": min(reasoning, cap or reasoning)},
        "total_tokens": prompt + output,
    }
    document = _response_document(question, "".join(kept), is_whole=len(kept) == len(pieces))
    whole = {**document, "usage": usage if question.has_usage else None}
    if body.get("background") is True and body.get("stream") is not True:
        return Reply(usage, _json({**whole, "status": "queued", "output": [], "usage": None}), kept=whole)
    if body.get("stream") is not True:
        return Reply(usage, _json(whole), kept=whole)
    return Reply(usage, content_type=wire.EVENTS, parts=_response_parts(whole, usage, kept), kept=whole)


def _response_document(question: Question, text: str, *, is_whole: bool) -> dict[str, Any]:
    body, number = question.body, question.number
    message = {
        "id": f"msg_{_digest(number)}", "type": "message", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}],
    }  # fmt: skip
    call = {
        "id": f"fc_{_digest(number)}", "type": "function_call", "status": "completed",
        "call_id": f"call_{_digest(number)[:24]}", "arguments": json.dumps({"answer": text}),
    }  # fmt: skip
    tools = [tool for tool in body.get("tools") or [] if tool["type"] == "function"]
    output = [{**call, "name": tools[0]["name"]}] if tools else [message]
    bad = answers.ANNOTATED_PROMPT_MARK in response_text(body)
    return {
        "id": f"resp_{_digest(number)[:50]}",
        "object": "response",
        "created_at": wire.CREATED,
        "status": "completed" if is_whole else "incomplete",
        "background": body.get("background") is True,
        "content_filters": [
            {"blocked": False, "source_type": "prompt", "content_filter_results": wire.BAD_PROMPT if bad else wire.SAFE}
        ],
        "error": None,
        "incomplete_details": None if is_whole else {"reason": "max_output_tokens"},
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "model": body["model"],
        "output": output,
        "parallel_tool_calls": True,
        "previous_response_id": body.get("previous_response_id"),
        "service_tier": body.get("service_tier", "default"),
        "store": body.get("store") is not False,
        "temperature": body.get("temperature", 1.0),
        "text": {"format": {"type": "text"}},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "top_p": body.get("top_p", 1.0),
        "truncation": "disabled",
        "user": body.get("user"),
        "metadata": body.get("metadata") or {},
    }


def _response_parts(whole: dict[str, Any], usage: dict[str, Any], pieces: list[str]) -> Iterator[Part]:
    numbers = itertools.count()

    def event(kind: str, **fields: Any) -> bytes:
        return wire.typed_event({"type": kind, "sequence_number": next(numbers), **fields})

    begun = {**whole, "status": "in_progress", "output": [], "usage": None}
    item = whole["output"][0]
    where = {"item_id": item["id"], "output_index": 0}
    so_far = {**usage, "output_tokens": 0, "total_tokens": usage["input_tokens"]}
    yield Part(event("response.created", response=begun), so_far)
    yield Part(event("response.in_progress", response=begun), so_far)
    empty: dict[str, Any] = {"arguments": ""} if item["type"] == "function_call" else {"content": []}
    added = {**item, "status": "in_progress", **empty}
    yield Part(event("response.output_item.added", output_index=0, item=added), so_far)
    kind = "response.function_call_arguments" if item["type"] == "function_call" else "response.output_text"
    for number, piece in enumerate(pieces, start=1):
        so_far = {**so_far, "output_tokens": number, "total_tokens": usage["input_tokens"] + number}
        yield Part(event(f"{kind}.delta", **where, delta=piece), so_far, is_token=True)
    yield Part(event(f"{kind}.done", **where), usage)
    yield Part(event("response.output_item.done", output_index=0, item=item), usage)
    yield Part(event(f"response.{whole['status']}", response=whole), usage)


def response_text(body: Mapping[str, Any]) -> str:
    return json.dumps([body.get("instructions"), body.get("input")])


def response_tokens(body: Mapping[str, Any]) -> int:
    """Three an item, three for the answer, and the tokens of every text."""
    items = body["input"] if isinstance(body["input"], list) else [{"content": body["input"]}]
    instructions = body.get("instructions")
    tokens = 3 + (4 + answers.count(instructions) if instructions else 0)
    for item in items:
        content = item.get("content") or item.get("output") or item.get("arguments") or ""
        parts = content if isinstance(content, list) else [content if isinstance(content, dict) else {"text": content}]
        tokens += 3 + answers.count(item.get("role", "user")) + sum(map(_part_tokens, parts))
    if body.get("tools"):
        tokens += answers.count(json.dumps(body["tools"], separators=(",", ":")))
    return tokens


def _part_tokens(part: Mapping[str, Any]) -> int:
    return answers.IMAGE_TOKENS if part.get("type") == "input_image" else answers.count(part.get("text", ""))


def transcription(question: Question) -> Reply:
    body, seconds = question.body, seconds_of(question.sound)
    chosen = random.Random(_seed(question.model, hashlib.sha256(question.sound).hexdigest(), 0))
    text = " ".join(chosen.choices(answers.WORDS, k=max(1, math.ceil(seconds * 2))))
    form = body.get("response_format") or "json"
    if question.model.startswith("whisper"):
        usage: dict[str, Any] = {"seconds": math.ceil(seconds)}
        segment = {"id": 0, "start": 0.0, "end": seconds, "text": text}
        match form:
            case "json":
                return Reply(usage, _json({"text": text}))
            case "verbose_json":
                head = {"task": "transcribe", "language": "english", "duration": seconds}
                return Reply(usage, _json({**head, "text": text, "segments": [segment]}))
            case "text":
                return Reply(usage, f"{text}\n".encode(), "text/plain; charset=utf-8")
        return Reply(usage, f"1\n00:00:00,000 --> 00:00:{seconds:06.3f}\n{text}\n\n".encode(), "text/plain")
    audio, output = math.ceil(seconds * 10), answers.count(text)
    usage = {
        "type": "tokens",
        "input_tokens": audio + answers.count(body.get("prompt", "")),
        "input_token_details": {"audio_tokens": audio, "text_tokens": answers.count(body.get("prompt", ""))},
        "output_tokens": output,
        "total_tokens": audio + answers.count(body.get("prompt", "")) + output,
    }
    if body.get("stream") != "true":
        return Reply(usage, _json({"text": text} | ({"usage": usage} if question.has_usage else {})))

    def parts() -> Iterator[Part]:
        for piece in answers.pieces(text):
            delta = {"type": "transcript.text.delta", "delta": piece}
            yield Part(wire.typed_event(delta, named=False), usage, is_token=True)
        done = {"type": "transcript.text.done", "text": text}
        yield Part(wire.typed_event(done | ({"usage": usage} if question.has_usage else {}), named=False), usage)

    return Reply(usage, content_type=wire.EVENTS, parts=parts())


def speech(question: Question) -> Reply:
    text = question.body["input"]
    sound = (hashlib.sha256(text.encode()).digest() * (len(text) * _BYTES_PER_SPOKEN_CHARACTER // 32 + 1))[
        : len(text) * _BYTES_PER_SPOKEN_CHARACTER
    ]
    if question.model.startswith("tts"):
        usage: dict[str, Any] = {"characters": len(text)}
    else:
        spoken = math.ceil(len(text) * _SPEECH_TOKENS_PER_CHARACTER)
        prompt = answers.count(text) + answers.count(question.body.get("instructions", ""))
        usage = {"input_tokens": prompt, "output_tokens": spoken, "total_tokens": prompt + spoken}

    def chunks() -> Iterator[bytes]:
        for start in range(0, len(sound), SPEECH_CHUNK_BYTES):
            yield sound[start : start + SPEECH_CHUNK_BYTES]

    def events() -> Iterator[Part]:
        for chunk in chunks():
            audio = base64.b64encode(chunk).decode()
            yield Part(wire.typed_event({"type": "speech.audio.delta", "audio": audio}, named=False), usage)
        done = {"type": "speech.audio.done"} | ({"usage": usage} if "output_tokens" in usage else {})
        yield Part(wire.typed_event(done, named=False), usage)

    if question.body.get("stream_format") == "sse":
        return Reply(usage, content_type=wire.EVENTS, parts=events())
    return Reply(usage, content_type="audio/mpeg", parts=(Part(chunk, usage) for chunk in chunks()))


def seconds_of(sound: bytes) -> float:
    """Return the seconds that a decoder plays: all bytes of a WAV, or all frames of an MP3 of 128 kbit/s."""
    if sound.startswith(_MP3_MARKS):
        return len(sound) // _MP3_FRAME_BYTES * _MP3_FRAME_SECONDS
    try:
        with wave.open(io.BytesIO(sound)) as opened:
            rate: int = opened.getframerate() * opened.getsampwidth() * opened.getnchannels()
        return (len(sound) - sound.index(b"data") - 8) / rate
    except (wave.Error, EOFError):
        raise Refused(wire.error("BadRequest", "Invalid file format.")) from None


def _inputs(value: Any) -> list[Any]:
    if isinstance(value, str) or (value and isinstance(value[0], int)):
        return [value]
    return list(value)


def _tokens_of(each: Any, *, cl100k: bool) -> int:
    if isinstance(each, str):
        return count_cl100k(each) if cl100k else answers.count(each)
    return len(each)


@cache
def _cl100k() -> Any:
    return splintr.Tokenizer.from_pretrained("cl100k_base")


def count_cl100k(text: str) -> int:
    return len(_cl100k().encode_ordinary(text))


def _seed(model: str, value: Any, index: int) -> str:
    return hashlib.sha256(json.dumps([model, value, index]).encode()).hexdigest()


def _digest(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document).encode()


def _event(fields: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(fields, separators=(",", ":")).encode() + b"\n\n"
