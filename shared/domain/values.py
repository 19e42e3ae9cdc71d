"""Value objects: immutable to the type checker, plain to the interpreter (ADR 13)."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, TypeVar, dataclass_transform

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def value(cls: type[_T]) -> type[_T]:
    """A slotted dataclass, compared and hashed by its fields, whose fields no typed code may assign.

    The interpreter does not enforce that: a frozen dataclass sets each field by a call, which was a tenth of what a
    request costs.
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)


def field_names(cls: type[Any]) -> tuple[str, ...]:
    """The names of a value's fields, in order."""
    return tuple(field.name for field in fields(cls))
