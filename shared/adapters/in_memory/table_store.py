"""A table service in a dictionary, with the ETags, atomicity and errors of the real one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence

from shared.adapters.tables.store import (
    Insert,
    InspectedRow,
    Merge,
    PreconditionFailed,
    Row,
    RowChange,
    RowExists,
    RowMissing,
    TableMissing,
)


class InMemoryTableStore:
    """Implements `TableStore` for one process: unit tests, benches, and a gateway without storage."""

    def __init__(self) -> None:
        self._tables: dict[str, defaultdict[str, dict[str, Row]]] = {}
        self._version = 0

    async def create_table(self, table: str) -> None:
        self._tables.setdefault(table, defaultdict(dict))

    async def get(self, table: str, partition: str, key: str) -> Row | None:
        return self._partition(table, partition).get(key)

    async def submit(self, table: str, partition: str, changes: Sequence[RowChange], commit_id: str) -> str:  # noqa: ARG002
        rows = self._partition(table, partition)
        _check(rows, changes)
        self._version += 1
        etag = str(self._version)
        for change in changes:
            key = change.key
            if isinstance(change, Insert):
                rows[key] = Row(key, change.fields, etag)
            elif isinstance(change, Merge):
                rows[key] = Row(key, {**rows[key].fields, **change.fields}, etag)
            else:
                del rows[key]
        return etag

    async def scan(self, table: str, partition: str, first: str, last: str) -> AsyncIterator[Row]:
        rows = self._tables[table][partition] if table in self._tables else {}
        for key in sorted(key for key in rows if first <= key < last):
            yield rows[key]

    async def inspect(self, table: str, partition: str, first: str, end: str = "") -> AsyncIterator[InspectedRow]:
        rows = self._tables[table].get(partition, {}) if table in self._tables else {}
        for key in sorted(key for key in rows if first <= key and (not end or key < end)):
            yield InspectedRow(key, rows[key].fields)

    async def partitions(self, table: str, first: str = "", end: str = "") -> AsyncIterator[str]:
        for name, rows in sorted(self._tables[table].items() if table in self._tables else ()):
            if rows and first <= name and (not end or name < end):
                yield name

    def _partition(self, table: str, partition: str) -> dict[str, Row]:
        if table not in self._tables:
            raise TableMissing
        return self._tables[table][partition]


def _check(rows: Mapping[str, Row], changes: Sequence[RowChange]) -> None:
    """Raise the error that a table service answers if one of the changes does not fit its row.

    All changes are checked before any is made, because a transaction changes all rows or none.
    """
    for change in changes:
        row = rows.get(change.key)
        if isinstance(change, Insert):
            if row is not None:
                raise RowExists
        elif row is None:
            raise RowMissing
        elif isinstance(change, Merge) and row.etag != change.etag:
            raise PreconditionFailed
