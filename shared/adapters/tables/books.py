"""The rows of the books as they are stored, for verification."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager

from shared.adapters.tables.lane_rows import LaneRowsReader
from shared.adapters.tables.rollups import WATERMARK_KEY, rollup_table_of
from shared.adapters.tables.row_forms import BALANCE_FORM, EMPTY_FORM, ENTRY_FORM, form_faults, read_row
from shared.adapters.tables.rows import (
    BALANCE_KEY,
    LANE_PARTITION,
    REGISTRY_TABLE,
    balance_from,
    entry_key,
    lane_from,
    mark_key_of,
    partition_of,
    table_of,
)
from shared.adapters.tables.store import AnswerLost, InspectableStore, InspectedRow
from shared.application.ports.books import Fault, LaneRows, Place, Stored, StoredEntry
from shared.domain.audit.hash_chain import Sealed, genesis
from shared.domain.errors import LedgerUnavailable
from shared.domain.ledger.balance import Balance, Lane
from shared.domain.ledger.entries import LedgerEntry


class TableBooks:
    """Implements `Books` over a table service."""

    def __init__(self, store: InspectableStore) -> None:
        self._store = store

    async def lanes(self, period: str, tenant_id: str | None = None) -> tuple[Mapping[Lane, bool], Sequence[Fault]]:
        first, end = ("", "") if tenant_id is None else (f"{tenant_id}|", f"{tenant_id}}}")
        with _translated_errors():
            # The registry is read last: a lane that opens meanwhile is registered before it has rows.
            names = {
                (table, name)
                for table in (table_of(period), rollup_table_of(period))
                async for name in self._store.partitions(table, first, end)
            }
            registered = {row.key: row async for row in self._store.inspect(REGISTRY_TABLE, period, first, end)}
        places = [
            Place(table=table, partition=name) for table, name in sorted(names) if not LANE_PARTITION.fullmatch(name)
        ]
        places += [_registered(period, name) for name in registered if not LANE_PARTITION.fullmatch(name)]
        faults = [Fault(place, "this is not the name of a lane") for place in places]
        for row in registered.values():
            faults += form_faults(_registered(period, row.key), row, EMPTY_FORM)
        found = sorted({name for _, name in names} | registered.keys())
        lanes = {lane_from(name, period): name in registered for name in found if LANE_PARTITION.fullmatch(name)}
        return lanes, faults

    async def tenants_with(self, kind: str, period: str) -> Set[str]:
        table = kind if kind == "credentials" else f"{kind}{period.replace('-', '')}"
        with _translated_errors():
            return {name async for name in self._store.partitions(table)}

    async def balance(self, lane: Lane) -> Stored[Balance] | None:
        table, partition = table_of(lane.period), partition_of(lane)
        row = await self._row(table, partition, BALANCE_KEY)
        return None if row is None else read_row(table, partition, row, BALANCE_FORM, balance_from)

    async def entries(self, lane: Lane, first: int, last: int) -> AsyncIterator[StoredEntry]:
        table, partition = table_of(lane.period), partition_of(lane)
        with _translated_errors():
            async for row in self._store.inspect(table, partition, entry_key(first), entry_key(last + 1)):
                yield _stored_entry(row)

    async def others(self, lane: Lane, last: int) -> LaneRows:
        table, rollups, partition = table_of(lane.period), rollup_table_of(lane.period), partition_of(lane)
        reader = LaneRowsReader(lane=lane, table=table, rollup_table=rollups, partition=partition)
        with _translated_errors():
            async for row in self._store.inspect(rollups, partition, ""):
                reader.add_rollup(row)
            # The first range has the balance. So little time passes between it and the rows that change with it.
            for first, end in (("", entry_key(1)), (entry_key(last + 1), "")):
                async for row in self._store.inspect(table, partition, first, end):
                    reader.add(row)
        return reader.result()

    async def watermark(self, lane: Lane) -> int:
        row = await self._row(rollup_table_of(lane.period), partition_of(lane), WATERMARK_KEY)
        seq = row.fields.get("seq") if row else 0
        return seq if isinstance(seq, int) else 0

    def entry_faults(self, lane: Lane, stored: StoredEntry) -> Sequence[Fault]:
        table, partition = table_of(lane.period), partition_of(lane)
        row = InspectedRow(stored.key, stored.sealed.fields(), stored.mistyped)
        if stored.entry is None:
            return read_row(table, partition, row, ENTRY_FORM, LedgerEntry.from_fields).faults
        return [*form_faults(self.place(lane, stored.key), row, ENTRY_FORM)]

    def place(self, lane: Lane, row: str = "", property_name: str = "") -> Place:
        is_rollup = row == WATERMARK_KEY
        table = rollup_table_of(lane.period) if is_rollup else table_of(lane.period)
        return Place(table=table, partition=partition_of(lane), row=row, property_name=property_name)

    def registry_place(self, lane: Lane) -> Place:
        return _registered(lane.period, partition_of(lane))

    def entry_key(self, seq: int) -> str:
        return entry_key(seq)

    def genesis(self, lane: Lane) -> str:
        return genesis(lane.period, partition_of(lane))

    async def _row(self, table: str, partition: str, key: str) -> InspectedRow | None:
        with _translated_errors():
            async for row in self._store.inspect(table, partition, key, f"{key} "):  # no key sorts between
                return row
        return None


def _registered(period: str, name: str) -> Place:
    return Place(table=REGISTRY_TABLE, partition=period, row=name)


def _stored_entry(row: InspectedRow) -> StoredEntry:
    entry: LedgerEntry | None
    try:
        entry = LedgerEntry.from_fields(row.fields)
        mark = mark_key_of(entry)
    except (KeyError, TypeError, ValueError):
        entry, mark = None, ""
    sealed = Sealed.from_fields(row.fields)
    return StoredEntry(key=row.key, entry=entry, sealed=sealed, mistyped=row.mistyped, mark=mark)


@contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except AnswerLost as error:
        raise LedgerUnavailable from error
