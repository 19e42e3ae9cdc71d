"""Value objects: immutable for the type checker, plain for the interpreter (ADR 12)."""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields
from typing import Any, ClassVar, Protocol, TypeVar, dataclass_transform

from shared.domain.stored_fields import stored

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True, field_specifiers=(field, stored))
def value(cls: type[_T]) -> type[_T]:
    """Make a value object with at most three fields: a slotted dataclass, compared and hashed by its fields.

    Only the type checker refuses assignments to its fields. A frozen dataclass would also refuse them at run time. But
    it sets each field by a function call, which is slow (ADR 12).
    """
    return dataclass(slots=True, unsafe_hash=True)(cls)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field, stored))
def record(cls: type[_T]) -> type[_T]:
    """Make a value object with more than three fields. It is built by keyword only, and otherwise like a `value`."""
    return dataclass(slots=True, unsafe_hash=True, kw_only=True)(cls)


class ValueObject(Protocol):
    """Any dataclass, for code that only reads its fields."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


def field_names(cls: type[Any]) -> tuple[str, ...]:
    """Return the names of a dataclass's fields, in order."""
    return tuple(field.name for field in fields(cls))
