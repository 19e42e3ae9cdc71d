"""Bodies of requests: read strictly where it matters, and forwarded byte for byte except the fields that are set."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from shared.adapters.azure_openai.formats import one_reading
from shared.adapters.canonical_json import encode_canonical
from shared.domain.errors import InvalidRequest
from shared.domain.values import fact

MOST_TOKENS: Final = 2_147_483_647
"""The largest cap on tokens that is read, because some readers have no larger integers."""
MOST_CHOICES: Final = 128
"""https://learn.microsoft.com/azure/ai-services/openai/reference: the most `n` of a chat."""

_decoder = msgspec.json.Decoder(dict[str, Any])
_members_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read(body: bytes) -> dict[str, Any]:
    """Decode a body. Raises `InvalidRequest` unless it is a JSON object that all conforming readers read alike."""
    try:
        fields = _decoder.decode(body)
        encoded = msgspec.json.encode(fields)
    except (msgspec.MsgspecError, RecursionError, UnicodeError):
        raise InvalidRequest("The body is not a valid JSON object.") from None
    one_reading.check(body, encoded, fields)
    return fields


def integer(fields: Mapping[str, Any], name: str, most: int, *, least: int = 1) -> int | None:
    """Return a number that limits the consumption; `None` if it is missing or null.

    Raises `InvalidRequest` for any other JSON value than an integer in range: `"5"`, `5.0` and `true` are read as 5 or
    1 by some readers, and refused or ignored by others.
    """
    number = fields.get(name)
    if number is None or (type(number) is int and least <= number <= most):
        return number
    raise InvalidRequest(f"'{name}' must be an integer from {least} to {most}, written in digits alone.", name)


def largest(fields: Mapping[str, Any], names: Iterable[str], most: int) -> int | None:
    """Return the largest of some numbers, each of which some reader takes; `None` if all are missing or null."""
    found = [number for name in names if name in fields and (number := integer(fields, name, most)) is not None]
    return max(found) if found else None


def flag(fields: Mapping[str, Any], name: str) -> bool | None:
    """Return a boolean; `None` if it is missing or null. Raises `InvalidRequest` for any other value."""
    found = fields.get(name)
    if found is None or found is True or found is False:
        return found
    raise InvalidRequest(f"'{name}' must be true or false.", name)


def text(fields: Mapping[str, Any], name: str) -> str | None:
    """Return a string; `None` if it is missing or null. Raises `InvalidRequest` for any other value."""
    found = fields.get(name)
    if found is None or isinstance(found, str):
        return found
    raise InvalidRequest(f"'{name}' must be a string.", name)


def with_members(body: bytes, members: Mapping[str, Any]) -> bytes:
    """Set some members of a JSON object. The others keep their bytes and their order."""
    return msgspec.json.encode({**_members_decoder.decode(body), **members}) if members else body


def members_of(body: bytes) -> dict[str, Any]:
    """Return the members of a JSON object that was read before."""
    return _decoder.decode(body)


def prompt_of(body: bytes, names: Iterable[str]) -> bytes:
    """Return members of a JSON object that was read before, as canonical JSON. Those that are null are left out."""
    fields = members_of(body)
    return encode_canonical({name: fields[name] for name in names if fields.get(name) is not None})


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
    if _are_tokens(value):
        return Prompts(texts=[], tokens=len(value), inputs=1)
    texts = [each for each in value if isinstance(each, str)]
    lists = [each for each in value if isinstance(each, list)]
    if len(texts) + len(lists) < len(value) or not all(map(_are_tokens, lists)):
        raise InvalidRequest(f"'{name}' must consist of strings or of tokens, which are integers.", name)
    return Prompts(texts=texts, tokens=sum(map(len, lists)), inputs=len(value))


def _are_tokens(values: Iterable[object]) -> bool:
    return all(type(token) is int for token in values)


def texts_in(value: object) -> list[str]:
    """Return a JSON value as texts to count. Names and punctuation are counted too, which can only add tokens."""
    if isinstance(value, str):
        return [value]
    return [] if value is None else [msgspec.json.encode(value).decode()]
