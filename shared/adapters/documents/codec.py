"""Domain objects as JSON text, written and read by their types.

Unknown fields are ignored and missing ones take their defaults, so that documents of other releases can be read.
"""

from __future__ import annotations

from typing import Any, Final, TypeVar

from pydantic import TypeAdapter

from shared.domain.errors import InvalidRequest

T = TypeVar("T")

MAX_DOCUMENT_CHARACTERS: Final = 100_000

_adapters: dict[Any, TypeAdapter[Any]] = {}


def _adapter(kind: Any) -> TypeAdapter[Any]:
    """Return the adapter of a type. Each is made once, because that costs far more than using it."""
    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]


def to_json(value: object) -> str:
    """Write a domain object as JSON text."""
    return _adapter(type(value)).dump_json(value).decode()


def to_plain(value: object) -> dict[str, Any]:
    """Return a domain object as JSON has it, in dictionaries and lists."""
    plain: dict[str, Any] = _adapter(type(value)).dump_python(value, mode="json")
    return plain


def to_document(value: object) -> str:
    """Write an object that is stored on its own. Raises `InvalidRequest` if it is too large.

    The row of its audit event holds it three times, and must fit in 1 MiB. Characters are counted in UTF-16.
    """
    text = to_json(value)
    size = len(text.encode("utf-16-le")) // 2
    if size > MAX_DOCUMENT_CHARACTERS:
        raise InvalidRequest(
            f"The object is too large: {size} characters of JSON, and {MAX_DOCUMENT_CHARACTERS} can be stored."
        )
    return text


def from_json(kind: type[T], text: str) -> T:
    """Read a domain object of type `kind`. Raises pydantic's `ValidationError` for anything else."""
    value: T = _adapter(kind).validate_json(text)
    return value
