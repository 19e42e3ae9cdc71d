"""The forms of stored rows: the properties that the gateway gives each kind of row, and how a row differs from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from types import MappingProxyType
from typing import Final, TypeVar

from shared.adapters.tables.store import InspectedRow
from shared.application.ports.books import Fault, Place, Stored
from shared.domain.errors import RowsDamaged
from shared.domain.ledger.balance import BALANCE
from shared.domain.ledger.entries import ENTRY_FIELDS, RESERVATION, USAGE
from shared.domain.ledger.rollup import ROLLUP, ROLLUP_KEY
from shared.domain.stored_fields import Fields, StoredField
from shared.domain.values import record

T = TypeVar("T")
_NONE: Final = frozenset[str]()


@record
class Form:
    """The properties of a kind of row."""

    kinds: Mapping[str, type]
    """The type of each property that a row may have, by name."""
    required: Set[str] = _NONE
    """The names of those that are written even if they are zero or empty. All others are left out then."""
    may_be_empty: Set[str] = _NONE
    """The names of those that earlier versions left out, or wrote, where they are zero or empty."""


def _form(
    fields: Sequence[StoredField], always: Mapping[str, type] = MappingProxyType({}), may_be_empty: Set[str] = _NONE
) -> Form:
    """Return the form of a row that a codec writes, with further properties that each row has."""
    required = {each.name for each in fields if each.is_always_written} | always.keys()
    kinds = {**{each.name: each.kind for each in fields}, **always}
    return Form(kinds=kinds, required=required - may_be_empty, may_be_empty=may_be_empty)


_AMOUNT: Final = {"tokens": int, "pusd": int}
BALANCE_FORM: Final = _form(BALANCE.fields, may_be_empty={"granted_tokens", "granted_pusd"})
RESERVATION_FORM: Final = _form(
    RESERVATION.fields,
    {"commit_id": str},
    may_be_empty={"application", "prompt_hmac", "sku", "spilled_to", "unbounded"},
)
_ENTRY_KINDS: Final = {**{each.name: each.kind for each in ENTRY_FIELDS}, "hash": str, "mac": str}
ENTRY_FORM: Final = Form(kinds=_ENTRY_KINDS, may_be_empty=_ENTRY_KINDS.keys())
MARKER_FORM: Final = _form(USAGE.fields, _AMOUNT)
TRANSFER_FORM: Final = _form((), {"direction": str, "other": int, **_AMOUNT})
ROLLUP_FORM: Final = _form((*ROLLUP_KEY.fields, *ROLLUP.fields))
WATERMARK_FORM: Final = _form((), {"seq": int})
EMPTY_FORM: Final = _form(())
_NAMES: Final = {str: "text", int: "a whole number", bool: "a truth value"}


def read_row(table: str, partition: str, row: InspectedRow, form: Form, read: Callable[[Fields], T]) -> Stored[T]:
    """Read a row by its form. Everything that differs from the form is a fault."""
    place = Place(table=table, partition=partition, row=row.key)
    faults = [*form_faults(place, row, form)]
    try:
        return Stored(read(dict(row.fields)), faults, row.fields)
    except RowsDamaged as damaged:
        return Stored(None, _with_unreadable(faults, place, damaged.__cause__ or damaged))
    except (LookupError, TypeError, ValueError) as error:
        return Stored(None, _with_unreadable(faults, place, error))


def _with_unreadable(faults: list[Fault], place: Place, error: BaseException) -> list[Fault]:
    if isinstance(error, KeyError):  # a codec read a property that is not there
        name = str(error.args[0])
        told = Fault(at_property(place, name), f"{name} is missing")
        return faults if told in faults else [*faults, told]
    return [*faults, Fault(place, f"the row cannot be read: {error}")]


def at_property(place: Place, name: str) -> Place:
    """Return the place of a property of a row."""
    return Place(table=place.table, partition=place.partition, row=place.row, property_name=name)


def form_faults(place: Place, row: InspectedRow, form: Form) -> Iterator[Fault]:
    """Return the properties that are not as the form declares them, and those that are missing."""
    for name, value in row.fields.items():
        kind = form.kinds.get(name)
        at = at_property(place, name)
        if kind is None:
            yield Fault(at, f"{name} is not a property of this row")
        elif type(value) is not kind:
            yield Fault(at, f"{name} is {value!r}, not {_NAMES[kind]}")
        elif name in row.mistyped:
            yield Fault(at, f"{name} is stored under another type")
        elif not value and name not in form.required | form.may_be_empty:
            yield Fault(at, f"{name} is {value!r}, and is left out where it is empty")
    for name in sorted(form.required - row.fields.keys()):
        yield Fault(at_property(place, name), f"{name} is missing")
