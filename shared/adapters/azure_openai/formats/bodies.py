"""Bodies of requests: read leniently, and forwarded byte for byte except the fields that the gateway sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

import msgspec

from shared.domain.errors import InvalidRequest
from shared.domain.values import fact

T = TypeVar("T")

_members_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """Decode the fields of a body that a format reads. Raises `InvalidRequest`."""
    try:
        if not body.isascii():
            body.decode()  # the decoder does not validate the fields that it skips
        return decoder.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        raise InvalidRequest("The body is not a valid JSON object.") from None


def with_members(body: bytes, members: Mapping[str, Any]) -> bytes:
    """Set some members of a JSON object. The others keep their bytes and their order."""
    return msgspec.json.encode({**_members_decoder.decode(body), **members}) if members else body


def member(body: bytes, name: str) -> Any:
    """Return one member of a JSON object; `None` if it is missing."""
    raw = _members_decoder.decode(body).get(name)
    return None if raw is None else msgspec.json.decode(raw)


def largest_positive(*values: object) -> int | None:
    """Return the largest positive integer among values of any type; `None` if there is none."""
    found = 0
    for value in values:
        if type(value) is int and value > found:
            found = value
    return found or None


def first_text(*values: object) -> str:
    """Return the first string that is not empty; an empty one if there is none."""
    for value in values:
        if isinstance(value, str) and value:
            return value
    return ""


def text_or_none(value: object) -> str | None:
    """Return `value` if it is a string."""
    return value if isinstance(value, str) else None


@fact
class Prompts:
    """The inputs of embeddings or of legacy completions."""

    texts: list[str]
    tokens: int
    """The number of tokens that were sent in place of text."""
    inputs: int


def prompts(value: object, name: str) -> Prompts:
    """Read an input that is a string, strings, tokens, or arrays of tokens. Raises `InvalidRequest`."""
    if isinstance(value, str):
        return Prompts(texts=[value], tokens=0, inputs=1)
    if not isinstance(value, list) or not value:
        raise InvalidRequest(f"'{name}' is required: a string, an array of strings, or arrays of tokens.", name)
    if all(type(token) is int for token in value):
        return Prompts(texts=[], tokens=len(value), inputs=1)
    texts = [each for each in value if isinstance(each, str)]
    tokens = sum(len(each) for each in value if isinstance(each, list))
    return Prompts(texts=texts, tokens=tokens, inputs=len(value))


def texts_in(value: object) -> list[str]:
    """Return a JSON value as texts to count. Names and punctuation are counted too, which can only add tokens."""
    if isinstance(value, str):
        return [value]
    return [] if value is None else [msgspec.json.encode(value).decode()]


def raw_texts(raws: Sequence[msgspec.Raw]) -> list[str]:
    """Return the JSON of some members as the caller wrote it, to count its tokens."""
    return [bytes(raw).decode(errors="replace") for raw in raws if raw]
