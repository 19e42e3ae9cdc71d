"""Domain objects as JSON documents, read and written by their types."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import TypeAdapter

T = TypeVar("T")

_adapters: dict[Any, TypeAdapter[Any]] = {}


def _adapter(kind: Any) -> TypeAdapter[Any]:
    if kind not in _adapters:
        _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]


def _text(value: object) -> str:
    return _adapter(type(value)).dump_json(value).decode()


def _read(kind: type[T], text: str) -> T:
    value: T = _adapter(kind).validate_json(text)
    return value
