"""Deterministic answers and their usage: the same request always gets the same text and the same token counts."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import splintr

DEFAULT_ANSWER_TOKENS = 40
REASONING_TOKENS = 64
CACHE_MINIMUM_TOKENS = 1024
MOST_PROMPTS = 50_000
"""The prompts that are remembered: the newest ones, because a simulator may run for weeks."""
CACHE_STEP_TOKENS = 128
IMAGE_TOKENS = 765
FILTERED_PROMPT_MARK = "[filter-prompt]"
FILTERED_COMPLETION_MARK = "[filter-completion]"
ANNOTATED_PROMPT_MARK = "[annotate-prompt]"
ANNOTATED_COMPLETION_MARK = "[annotate-completion]"
ASYNCHRONOUS_MARK = "[asynchronous-filter]"
WORDS = (
    "the ledger holds every token that was used and the books add up to the cent while each tenant keeps its quota "
    "a region may fail but no request is lost when another can serve it within the rules that the company has set"
).split()


@cache
def encoder() -> Any:
    """The o200k vocabulary."""
    return splintr.Tokenizer.from_pretrained("o200k_base")


def count(text: str) -> int:
    return len(encoder().encode_ordinary(text))


def pieces(text: str) -> list[str]:
    """The text token by token; texts here are ASCII, so every token is a whole string."""
    return [encoder().decode([token]) for token in encoder().encode_ordinary(text)]


@dataclass(frozen=True, slots=True)
class Choice:
    """One choice: text or a tool call, token by token, and why it ended."""

    tokens: tuple[str, ...]
    finish_reason: str
    tool_name: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0

    def document(self) -> dict[str, Any]:
        return {
            "completion_tokens": self.completion_tokens,
            "completion_tokens_details": {
                "accepted_prediction_tokens": 0,
                "audio_tokens": 0,
                "reasoning_tokens": self.reasoning_tokens,
                "rejected_prediction_tokens": 0,
            },
            "prompt_tokens": self.prompt_tokens,
            "prompt_tokens_details": {"audio_tokens": 0, "cached_tokens": self.cached_tokens},
            "total_tokens": self.prompt_tokens + self.completion_tokens,
        }


@dataclass(frozen=True, slots=True)
class Answer:
    """`is_prompt_bad`, `is_completion_bad`: what a filter that only annotates says. An asynchronous filter says it in
    chunks of its own, after the text it is about."""

    choices: tuple[Choice, ...]
    usage: Usage
    is_prompt_bad: bool = False
    is_completion_bad: bool = False
    is_asynchronous: bool = False


@dataclass(slots=True)
class PromptCache:
    """Remembers prompts per region and deployment; repeated prefixes count as cached."""

    _seen: dict[tuple[str, str, str], str] = field(default_factory=dict)

    def cached_tokens(self, region: str, deployment: str, text: str, prompt_tokens: int) -> int:
        if prompt_tokens < CACHE_MINIMUM_TOKENS:
            return 0
        prefix = hashlib.sha256(text[:2048].encode()).hexdigest()
        whole = hashlib.sha256(text.encode()).hexdigest()
        before = self._seen.pop((region, deployment, prefix), None)
        self._seen[region, deployment, prefix] = whole
        if len(self._seen) > MOST_PROMPTS:
            del self._seen[next(iter(self._seen))]
        if before is None:
            return 0
        return prompt_tokens // CACHE_STEP_TOKENS * CACHE_STEP_TOKENS if before == whole else CACHE_MINIMUM_TOKENS


def prompt_text(body: Mapping[str, Any]) -> str:
    """All text of a prompt."""
    return "\n".join(text for message in body["messages"] for text in _texts(message))


def prompt_tokens(body: Mapping[str, Any]) -> int:
    """OpenAI's published rule: 3 a message, 1 a name, 3 for the answer, and the tokens of every value."""
    tokens = 3
    for message in body["messages"]:
        tokens += 3 + ("name" in message) + sum(map(count, _texts(message)))
        if isinstance(message.get("content"), list):
            tokens += sum(IMAGE_TOKENS for part in message["content"] if part.get("type") == "image_url")
    for name in ("tools", "functions", "response_format"):
        if body.get(name):
            tokens += count(json.dumps(body[name], separators=(",", ":")))
    return tokens


def answer(body: Mapping[str, Any], model: str, cached_tokens: int) -> Answer:
    """Return the model's text for a valid request that is not filtered."""
    is_reasoning = model.startswith(("o", "gpt-5"))
    cap = body.get("max_completion_tokens") or body.get("max_tokens")
    reasoning = min(REASONING_TOKENS, cap or REASONING_TOKENS) if is_reasoning else 0
    room = max(0, cap - reasoning) if cap else None
    choices = tuple(_choice(body, model, index, room) for index in range(body.get("n") or 1))
    completion = sum(len(choice.tokens) for choice in choices) + reasoning * len(choices)
    usage = Usage(prompt_tokens(body), completion, cached_tokens, reasoning * len(choices))
    text = prompt_text(body)
    marks = (ANNOTATED_PROMPT_MARK, ANNOTATED_COMPLETION_MARK, ASYNCHRONOUS_MARK)
    return Answer(choices, usage, *(mark in text for mark in marks))


def _choice(body: Mapping[str, Any], model: str, index: int, room: int | None) -> Choice:
    seed = hashlib.sha256(json.dumps([model, body["messages"], index], sort_keys=True).encode()).hexdigest()
    chosen = random.Random(seed)
    tool = _tool_to_call(body)
    if tool is not None:
        text = json.dumps(_example(tool.get("parameters") or {}, chosen))
    elif (body.get("response_format") or {}).get("type") in ("json_object", "json_schema"):
        schema = (body["response_format"].get("json_schema") or {}).get("schema") or {"type": "object"}
        text = json.dumps(_example(schema, chosen))
    else:
        text = " ".join(chosen.choice(WORDS) for _ in range(DEFAULT_ANSWER_TOKENS))
    tokens = tuple(pieces(text))
    if FILTERED_COMPLETION_MARK in prompt_text(body):
        return Choice(tokens[: len(tokens) // 2][:room], "content_filter")
    if room is not None and len(tokens) > room:
        return Choice(tokens[:room], "length", tool["name"] if tool else "")
    return Choice(tokens, "tool_calls" if tool else "stop", tool["name"] if tool else "")


def _tool_to_call(body: Mapping[str, Any]) -> dict[str, Any] | None:
    tools: list[dict[str, Any]] = [
        tool["function"] for tool in body.get("tools") or [] if tool.get("type") == "function"
    ]
    has_answer = body["messages"][-1].get("role") == "tool"
    if not tools or has_answer or body.get("tool_choice") == "none":
        return None
    wanted = body.get("tool_choice")
    if isinstance(wanted, dict):
        return next(tool for tool in tools if tool["name"] == wanted["function"]["name"])
    return tools[0]


def _example(schema: Mapping[str, Any], chosen: random.Random) -> Any:
    """A small value that fits a JSON schema."""
    if "enum" in schema:
        return schema["enum"][0]
    match schema.get("type"):
        case "object":
            properties = schema.get("properties") or {"answer": {"type": "string"}}
            return {name: _example(value, chosen) for name, value in properties.items()}
        case "array":
            return [_example(schema.get("items") or {"type": "string"}, chosen)]
        case "integer" | "number":
            return chosen.randrange(100)
        case "boolean":
            return True
        case _:
            return chosen.choice(WORDS)


def _texts(message: Mapping[str, Any]) -> Sequence[str]:
    texts: list[str] = []
    for name, value in message.items():
        if isinstance(value, str):
            texts.append(value)
        elif name == "content" and isinstance(value, list):
            texts += [part["text"] for part in value if part.get("type") == "text"]
        elif value is not None:
            texts.append(json.dumps(value, separators=(",", ":")))
    return texts
