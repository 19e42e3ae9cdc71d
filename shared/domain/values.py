"""Value objects, which nobody changes: `value`, `record` and `fact`; and `state`, which changes (ADR 12)."""

from __future__ import annotations

from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, ClassVar, Final, Protocol, TypeVar, cast, dataclass_transform

import msgspec

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
    """Make a value object with more than three fields. It is built by keyword only, and otherwise like a `value`.

    pydantic can validate it, so it is the form of stored documents.
    """
    return dataclass(slots=True, unsafe_hash=True, kw_only=True)(cls)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field, stored))
def fact(cls: type[_T]) -> type[_T]:
    """Make a record of which each request makes new ones: a struct that C code builds, and that cannot be changed.

    It costs a sixth of a `record` (ADR 12). The functions of `dataclasses` accept it. It has no base class.
    """
    return _struct(cls, frozen=True)


@dataclass_transform(kw_only_default=True, field_specifiers=(field,))
def state(cls: type[_T]) -> type[_T]:
    """Make an object whose fields change, and of which each request makes new ones: as cheap as a `fact`.

    Two of them are never equal.
    """
    return _struct(cls, frozen=False)


def _struct(cls: type[_T], *, frozen: bool) -> type[_T]:
    if cls.__bases__ != (object,):
        raise TypeError(f"The {'fact' if frozen else 'state'} {cls.__name__} must not have a base class.")
    declared: type[Any] = dataclass(unsafe_hash=frozen, eq=frozen, kw_only=True)(cls)
    members = {name: member for name, member in vars(declared).items() if name not in _MADE_BY_STRUCT}
    struct: Any = msgspec.defstruct(
        cls.__name__,
        [(each.name, each.type, _default(each)) for each in fields(declared)],
        namespace={**members, "__qualname__": cls.__qualname__},
        kw_only=True,
        frozen=frozen,
        eq=frozen,
    )
    return cast("type[_T]", struct)


_MADE_BY_STRUCT: Final = ("__init__", "__eq__", "__dict__", "__weakref__", "__match_args__", "__annotations__")


def _default(declared: Field[Any]) -> Any:
    if declared.default_factory is not MISSING:
        return msgspec.field(default_factory=declared.default_factory)
    return msgspec.NODEFAULT if declared.default is MISSING else declared.default


class ValueObject(Protocol):
    """Any dataclass, for code that only reads its fields."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


def field_names(cls: type[Any]) -> tuple[str, ...]:
    """Return the names of a dataclass's fields, in order."""
    return tuple(field.name for field in fields(cls))
