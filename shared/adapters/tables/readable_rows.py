"""Rows of the ledger that are read each for itself: one that something else wrote is named, and hides no other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from shared.adapters.tables.rows import partition_of, table_of
from shared.adapters.tables.store import Row
from shared.domain.damaged_row import DamagedRow
from shared.domain.errors import InvalidRequest, RowsDamaged
from shared.domain.ledger.balance import Lane
from shared.domain.ledger.entries import LedgerEntry

S = TypeVar("S")
T = TypeVar("T")


async def readable(stored: AsyncIterator[S], read: Callable[[S], T], place: str) -> AsyncIterator[T]:
    """Yield what each stored row or key stands for, all of one table or partition.

    Raises `RowsDamaged` at the end for those that cannot be read, so that one hides no other.
    """
    damaged: list[DamagedRow] = []
    async for each in stored:
        try:
            found = read(each)
        except (InvalidRequest, LookupError, TypeError, ValueError) as error:
            key = each.key if isinstance(each, Row) else str(each)
            damaged.append(DamagedRow(f"{place}/{key}", repr(error)))
        else:
            yield found
    if damaged:
        raised = RowsDamaged(f"Rows of the ledger cannot be read: {', '.join(map(str, damaged))}.")
        raised.rows = damaged
        raise raised


def entry_from(row: Row, lane: Lane) -> LedgerEntry:
    """Read an entry of a lane. Raises `RowsDamaged`, which names it."""
    try:
        return LedgerEntry.from_fields(row.fields)
    except (LookupError, TypeError, ValueError) as error:
        name = f"{table_of(lane.period)}/{partition_of(lane)}/{row.key}"
        raise RowsDamaged(f"The entry {name} cannot be read ({error!r}).") from error
