"""A table service and a set in temporary SQLite files, for data that is too large for memory."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Sequence

import msgspec

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
from shared.domain.stored_fields import Fields

_SCHEMA = """
create table tables (name text primary key) without rowid;
create table entities (
    name text, partition text, key text, etag integer, fields blob, primary key (name, partition, key)
) without rowid
"""
_PAGE_ROWS = 1000
_AFTER_ALL = b""
"""The end of a range without an end. To SQLite each blob is after all texts."""


class SqliteTableStore:
    """Implements `TableStore` for one process. SQLite deletes the file when the connection closes."""

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None)
        self._database.executescript(_SCHEMA)
        self._version = 0

    async def create_table(self, table: str) -> None:
        self._database.execute("insert or ignore into tables values (?)", (table,))

    async def get(self, table: str, partition: str, key: str) -> Row | None:
        self._require(table)
        return self._get(table, partition, key)

    async def submit(self, table: str, partition: str, changes: Sequence[RowChange], commit_id: str) -> str:  # noqa: ARG002
        self._require(table)
        self._version += 1
        self._database.execute("begin")
        try:
            for change in changes:
                self._apply(table, partition, change)
        except BaseException:
            self._database.execute("rollback")
            raise
        self._database.execute("commit")
        return str(self._version)

    async def scan(self, table: str, partition: str, first: str, last: str) -> AsyncIterator[Row]:
        async for row in self._between(table, partition, first, last):
            yield row

    async def _between(self, table: str, partition: str, first: str, last: str | bytes) -> AsyncIterator[Row]:
        query = "select key, fields, etag from entities where name = ? and partition = ? and key >= ? and key < ?"
        while True:  # page by page, so that no cursor is open while the caller writes rows
            page = self._database.execute(f"{query} order by key limit {_PAGE_ROWS}", (table, partition, first, last))
            rows = [_row(*found) for found in page]
            for row in rows:
                yield row
            if len(rows) < _PAGE_ROWS:
                return
            first = f"{rows[-1].key}\0"  # the smallest key after the last one read

    async def inspect(self, table: str, partition: str, first: str, end: str = "") -> AsyncIterator[InspectedRow]:
        async for row in self._between(table, partition, first, end or _AFTER_ALL):
            yield InspectedRow(row.key, row.fields)

    async def partitions(self, table: str, first: str = "", end: str = "") -> AsyncIterator[str]:
        query = "select distinct partition from entities where name = ? and partition >= ? and partition < ?"
        for (name,) in self._database.execute(f"{query} order by 1", (table, first, end or _AFTER_ALL)).fetchall():
            yield name

    def tables(self) -> set[str]:
        """Return the names of all tables."""
        return {name for (name,) in self._database.execute("select name from tables")}

    def close(self) -> None:
        """Close the database, which deletes its file."""
        self._database.close()

    def _require(self, table: str) -> None:
        if self._database.execute("select 1 from tables where name = ?", (table,)).fetchone() is None:
            raise TableMissing

    def _get(self, table: str, partition: str, key: str) -> Row | None:
        query = "select key, fields, etag from entities where name = ? and partition = ? and key = ?"
        found = self._database.execute(query, (table, partition, key)).fetchone()
        return None if found is None else _row(*found)

    def _apply(self, table: str, partition: str, change: RowChange) -> None:
        row = self._get(table, partition, change.key)
        if isinstance(change, Insert):
            if row is not None:
                raise RowExists
            self._put(table, partition, change.key, change.fields)
        elif row is None:
            raise RowMissing
        elif isinstance(change, Merge):
            if row.etag != change.etag:
                raise PreconditionFailed
            self._put(table, partition, change.key, {**row.fields, **change.fields})
        else:
            keys = (table, partition, change.key)
            self._database.execute("delete from entities where name = ? and partition = ? and key = ?", keys)

    def _put(self, table: str, partition: str, key: str, fields: Fields) -> None:
        values = (table, partition, key, self._version, msgspec.json.encode(fields))
        self._database.execute("insert or replace into entities values (?, ?, ?, ?, ?)", values)


class DiskSet:
    """A set of strings in a temporary file. SQLite deletes the file with the object."""

    def __init__(self) -> None:
        # The garbage collector may close it in another thread.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute("create table members (name text primary key) without rowid")
        self._database.execute("begin")  # never committed: a transaction for each member would be slow

    def add(self, member: str) -> None:
        """Add a member. Harmless if it is one already."""
        self._database.execute("insert or ignore into members values (?)", (member,))

    def __contains__(self, member: object) -> bool:
        query = "select 1 from members where name = ?"
        return self._database.execute(query, (member,)).fetchone() is not None

    def __del__(self) -> None:
        self._database.close()


def _row(key: str, fields: bytes, etag: int) -> Row:
    return Row(key, msgspec.json.decode(fields), str(etag))
