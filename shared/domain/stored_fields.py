"""Stored fields: each is declared once, where its value object declares it.

The row codec, the canonical form under the hash chain and the table in docs/reference/ledger.md follow from the
declaration. Names and types of stored fields never change: rows of earlier versions must stay readable.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from types import UnionType
from typing import Any, Generic, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

FieldValue: TypeAlias = str | int | bool
Fields: TypeAlias = dict[str, FieldValue]
"""One stored row without its keys: names and plain values."""

T = TypeVar("T")
_KEY = "stored"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Declaration:
    meaning: str
    name: str
    prefix: str
    via: str
    parse: Callable[[Any], Any] | None
    is_int64: bool
    is_always_written: bool
    may_be_missing: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredField:
    """One property of a stored row."""

    name: str
    path: str
    """The attribute path from the value object to the plain value."""
    kind: type
    """`str`, `int` or `bool`."""
    meaning: str
    is_int64: bool
    """The value can exceed 2^31, so the table service stores it as `Edm.Int64`."""
    is_always_written: bool
    """An empty or zero value is written, too."""


def stored(
    meaning: str,
    *,
    name: str = "",
    prefix: str = "",
    via: str = "",
    parse: Callable[[Any], Any] | None = None,
    int64: bool = False,
    always: bool = False,
    may_be_missing: bool = False,
    default: Any = MISSING,
    default_factory: Any = MISSING,
) -> Any:
    """Declare a dataclass field that is stored.

    - `name` is the stored name, by default the field's.
    - `prefix` precedes the names of the fields of a nested value object.
    - `via` is the attribute path to the plain value, and `parse` its inverse, for fields of other types.
    - `int64` stores the value as `Edm.Int64`, because it can exceed 2^31.
    - `always` writes the field even if it is empty, and requires it when a row is read.
    - `may_be_missing` lifts that requirement, because rows of earlier versions lack the field.
    """
    declaration = _Declaration(
        meaning=meaning,
        name=name,
        prefix=prefix,
        via=via,
        parse=parse,
        is_int64=int64,
        is_always_written=always,
        may_be_missing=may_be_missing,
    )
    metadata = {_KEY: declaration}
    if default_factory is not MISSING:
        return field(default_factory=default_factory, metadata=metadata)
    return field(default=default, metadata=metadata)


class Codec(Generic[T]):
    """Writes a value object as plain fields, and reads it back. A field that was left out reads as empty.

    Reading raises `KeyError` if the row lacks a field that is always written.
    """

    def __init__(self, cls: type[T], *, prefix: str = "", without: frozenset[str] = frozenset()) -> None:
        """`without` names fields of `cls` that are not stored in this row."""
        self.fields = tuple(_leaves(cls, prefix, without))
        self._cls = cls
        self._readers = tuple(_readers(cls, prefix, without))
        self._always = _compile_row([each for each in self.fields if each.is_always_written])
        optional = [each for each in self.fields if not each.is_always_written]
        self._optional_names = tuple(each.name for each in optional)
        self._optional_values = _compile_values(optional)

    def write(self, value: T) -> Fields:
        """Return the fields of `value`. Empty values are left out unless they are always written."""
        row = self._always(value)
        for name, plain in zip(self._optional_names, self._optional_values(value), strict=True):
            if plain:
                row[name] = plain
        return row

    def read(self, row: Mapping[str, FieldValue], **derived: object) -> T:
        """Build the value object from a stored row. `derived` gives the fields that are not stored."""
        return self._cls(**{name: read(row) for name, read in self._readers}, **derived)


def _compile_row(declared: Sequence[StoredField]) -> Callable[[Any], Fields]:
    """Compile a function that returns these fields of a value object as a row.

    Compiled once from declared names, it costs a third of a loop over `attrgetter` (ADR 12).
    """
    pairs = ", ".join(f"{each.name!r}: value.{each.path}" for each in declared)
    compiled: Callable[[Any], Fields] = eval(f"lambda value: {{{pairs}}}")  # noqa: S307 - declared names only
    return compiled


def _compile_values(declared: Sequence[StoredField]) -> Callable[[Any], tuple[FieldValue, ...]]:
    """Compile a function that returns the values of these fields, in their order."""
    values = "".join(f"value.{each.path}, " for each in declared)
    compiled: Callable[[Any], tuple[FieldValue, ...]] = eval(f"lambda value: ({values})")  # noqa: S307 - as above
    return compiled


_Reader: TypeAlias = Callable[[Mapping[str, FieldValue]], object]


def _leaves(
    cls: type, prefix: str, without: frozenset[str], path: str = "", meaning: str = "", *, always: bool = False
) -> Iterator[StoredField]:
    for attribute, kind, declared in _declared(cls, without):
        is_always = always or declared.is_always_written
        described = f"{meaning}: {declared.meaning}" if meaning else declared.meaning
        if is_dataclass(kind):
            nested = prefix + declared.prefix
            yield from _leaves(kind, nested, frozenset(), f"{path}{attribute}.", described, always=is_always)
        else:
            yield StoredField(
                name=prefix + (declared.name or attribute),
                path=path + (declared.via or attribute),
                kind=_plain(kind),
                meaning=described,
                is_int64=declared.is_int64,
                is_always_written=is_always,
            )


def _readers(
    cls: type, prefix: str, without: frozenset[str], *, required: bool = False
) -> Iterator[tuple[str, _Reader]]:
    for attribute, kind, declared in _declared(cls, without):
        is_required = (required or declared.is_always_written) and not declared.may_be_missing
        if is_dataclass(kind):
            nested = tuple(_readers(kind, prefix + declared.prefix, frozenset(), required=is_required))
            yield attribute, _nested_reader(kind, nested)
        else:
            name = prefix + (declared.name or attribute)
            yield attribute, _reader(name, _plain(kind), declared.parse, required=is_required)


def _nested_reader(kind: type, readers: tuple[tuple[str, _Reader], ...]) -> _Reader:
    return lambda row: kind(**{name: read(row) for name, read in readers})


def _reader(name: str, kind: type, parse: Callable[[Any], object] | None, *, required: bool) -> _Reader:
    empty: object = kind()
    convert: Callable[[Any], object] = kind if parse is None else lambda plain: parse(kind(plain))
    if required:
        return lambda row: convert(row[name])
    return lambda row: convert(row.get(name, empty))


def _declared(cls: type, without: frozenset[str]) -> Iterator[tuple[str, type, _Declaration]]:
    hints = get_type_hints(cls)
    for each in fields(cls):
        if _KEY in each.metadata and each.name not in without:
            yield each.name, _value_type(hints[each.name]), each.metadata[_KEY]


def _value_type(hint: Any) -> type:
    """Return the type behind `X | None`. Collections are stored as text."""
    if get_origin(hint) is UnionType:
        hint = next(each for each in get_args(hint) if each is not type(None))
    kind: type = str if get_origin(hint) is not None else hint
    return kind


def _plain(kind: type) -> type:
    """Return the type of the stored value. Enums are stored as text."""
    return kind if kind in (int, bool) else str
