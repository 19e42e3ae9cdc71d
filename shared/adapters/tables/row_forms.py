"""The forms of stored rows: the properties that the gateway gives each kind of row, and how a row differs from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeVar

from shared.adapters.tables.store import InspectedRow
from shared.application.ports.books import Fault, Place, Stored
from shared.domain.errors import RowsDamaged
from shared.domain.ledger.balance import BALANCE
from shared.domain.ledger.entries import ENTRY_FIELDS, RESERVATION, USAGE
from shared.domain.ledger.rollup import ROLLUP, ROLLUP_KEY
from shared.domain.stored_fields import Fields

T = TypeVar("T")
Form = Mapping[str, type]
"""The type of each property that a row may have, by name."""

_AMOUNT: Final = {"tokens": int, "pusd": int}
BALANCE_FORM: Final[Form] = {each.name: each.kind for each in BALANCE.fields}
RESERVATION_FORM: Final[Form] = {**{each.name: each.kind for each in RESERVATION.fields}, "commit_id": str}
ENTRY_FORM: Final[Form] = {**{each.name: each.kind for each in ENTRY_FIELDS}, "hash": str, "mac": str}
MARKER_FORM: Final[Form] = {**_AMOUNT, **{each.name: each.kind for each in USAGE.fields}}
TRANSFER_FORM: Final[Form] = {"direction": str, "other": int, **_AMOUNT}
ROLLUP_FORM: Final[Form] = {each.name: each.kind for each in (*ROLLUP_KEY.fields, *ROLLUP.fields)}
WATERMARK_FORM: Final[Form] = {"seq": int}
EMPTY_FORM: Final[Form] = {}
_NAMES: Final = {str: "text", int: "a whole number", bool: "a truth value"}


def read_row(table: str, partition: str, row: InspectedRow, form: Form, read: Callable[[Fields], T]) -> Stored[T]:
    """Read a row by its form. Everything that differs from the form is a fault."""
    place = Place(table=table, partition=partition, row=row.key)
    faults = [*form_faults(place, row, form)]
    try:
        return Stored(read(dict(row.fields)), faults)
    except RowsDamaged as damaged:
        return Stored(None, [*faults, _unreadable(place, damaged.__cause__ or damaged)])
    except (LookupError, TypeError, ValueError) as error:
        return Stored(None, [*faults, _unreadable(place, error)])


def _unreadable(place: Place, error: BaseException) -> Fault:
    if isinstance(error, KeyError):  # a codec read a property that is not there
        name = str(error.args[0])
        return Fault(at_property(place, name), f"{name} is missing")
    return Fault(place, f"the row cannot be read: {error}")


def at_property(place: Place, name: str) -> Place:
    """Return the place of a property of a row."""
    return Place(table=place.table, partition=place.partition, row=place.row, property_name=name)


def form_faults(place: Place, row: InspectedRow, form: Form) -> Iterator[Fault]:
    """Return the properties that are not as the form declares them."""
    for name, value in row.fields.items():
        kind = form.get(name)
        at = at_property(place, name)
        if kind is None:
            yield Fault(at, f"{name} is not a property of this row")
        elif type(value) is not kind:
            yield Fault(at, f"{name} is {value!r}, not {_NAMES[kind]}")
        elif name in row.mistyped:
            yield Fault(at, f"{name} is stored under another type")
