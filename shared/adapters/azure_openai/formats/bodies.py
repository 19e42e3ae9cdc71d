"""Bodies of requests: read leniently, forwarded as they are but for the fields that the gateway sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from shared.domain.errors import InvalidRequest

T = TypeVar("T")
JSON = "application/json"

_members_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """The fields that a format reads of a body. Raises `InvalidRequest`, also for what is not UTF-8 in other fields."""
    try:
        if not body.isascii():
            body.decode()
        return decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        raise InvalidRequest("The body is not a valid JSON object.") from None


def with_members(body: bytes, members: Mapping[str, Any]) -> bytes:
    """A JSON object with some members set; the others keep their bytes and their order."""
    return msgspec.json.encode({**_members_decoder.decode(body), **members}) if members else body


def member(body: bytes, name: str) -> Any:
    """One member of a JSON object, or `None`."""
    raw = _members_decoder.decode(body).get(name)
    return None if raw is None else msgspec.json.decode(raw)


def largest(*values: object) -> int | None:
    """The largest positive whole number among some values of any type."""
    found = 0
    for value in values:
        if type(value) is int and value > found:
            found = value
    return found or None


def first_text(*values: object) -> str:
    """The first text that is not empty."""
    for value in values:
        if isinstance(value, str) and value:
            return value
    return ""


def text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) else None


def prompts(value: object, name: str) -> tuple[list[str], int, int]:
    """An input that is a text, texts, tokens or lists of tokens: its texts, its tokens, and how many inputs it holds.

    Raises `InvalidRequest`.
    """
    if isinstance(value, str):
        return [value], 0, 1
    if not isinstance(value, list) or not value:
        raise InvalidRequest(f"'{name}' is required: a string, an array of strings, or arrays of tokens.", name)
    if all(type(token) is int for token in value):
        return [], len(value), 1
    texts = [each for each in value if isinstance(each, str)]
    tokens = sum(len(each) for each in value if isinstance(each, list))
    return texts, tokens, len(value)


def texts_in(value: object) -> list[str]:
    """Every text in a JSON value, of names and values, for a bound on what a model is told."""
    if isinstance(value, str):
        return [value]
    return [] if value is None else [msgspec.json.encode(value).decode()]


def raw_texts(raws: Sequence[msgspec.Raw]) -> list[str]:
    """The JSON of members as the caller wrote it."""
    return [bytes(raw).decode(errors="replace") for raw in raws if raw]
