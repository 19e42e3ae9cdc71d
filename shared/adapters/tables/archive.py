"""Archives: all rows of a period in one file, exported from one storage account and restored into another.

The file is gzip over JSON lines. The first line has the format, the period and the price book. Each row is a line; the
balances of a tenant's lanes follow all of their entries. The last line has the number of rows and the SHA-256 of all
lines before it.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Final, TypeAlias

import msgspec
from pydantic import TypeAdapter

from shared.adapters.tables.entity_group import decoded_fields
from shared.adapters.tables.rows import BALANCE_KEY, REGISTRY_TABLE, entry_key, lane_from, table_of
from shared.adapters.tables.store import AnswerLost, Insert, Row, RowExists, TableMissing, TableStore
from shared.application.ports.pricing import PriceStore
from shared.domain.errors import AlreadyExists, GatewayError, LedgerUnavailable
from shared.domain.pricing.price import Price
from shared.domain.stored_fields import Fields

FORMAT: Final = "tallygate-period-1"
_FIRST_ENTRY_KEY: Final = "E|"
_WATERMARK_KEY: Final = "W"
_ROLLUP_RANGE: Final = ("R|", "R}")
_OTHER_RANGES: Final = (("G|", "G}"), ("L|", "L}"), ("P|", "P}"), ("X|", "X}"))
"""A lane's rows other than its balance and its immutable entries: they may change while the lane is read."""
_READING_ATTEMPTS: Final = 20
_BATCH_ROWS: Final = 50
_prices_adapter = TypeAdapter(list[Price])
_price_adapter = TypeAdapter(Price)


Progress: TypeAlias = Callable[[int, int], None]
"""Called with the number of parts done and the number of all parts."""


def _ignore(_done: int, _total: int) -> None:
    """Do nothing: the caller wants no progress."""


class ArchiveDamaged(GatewayError):
    """The file is not an archive of a period, or is incomplete or changed."""


class PeriodMoves(GatewayError):
    """A lane changed each time that it was read, so that its rows are of no one moment."""


class _Head(msgspec.Struct):
    """The first line of an archive."""

    format: str
    period: str
    prices: list[dict[str, str | int | bool | None]]


class _Line(msgspec.Struct, array_like=True):
    """One row of the archive, written as a JSON array."""

    table: str
    partition: str
    key: str
    fields: Fields


class PeriodArchive:
    """Exports and restores one period of the ledger."""

    def __init__(self, store: TableStore, prices: PriceStore) -> None:
        self._store = store
        self._prices = prices

    async def export(self, period: str, path: Path, report: Progress = _ignore) -> int:
        """Write a period to a new file. Returns the number of its rows. Reports progress in tenants.

        Raises `PeriodMoves` for a tenant whose lanes change during each reading, and `LedgerUnavailable`.
        """
        book = sorted(await self._prices.load(), key=lambda price: (price.model, price.price_id))
        prices = _prices_adapter.dump_python(book, mode="json")
        digest, count = hashlib.sha256(), 0
        with path.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:

            def write(line: object) -> None:
                encoded = msgspec.json.encode(line) + b"\n"
                digest.update(encoded)
                file.write(encoded)

            write(_Head(format=FORMAT, period=period, prices=prices))
            try:
                async for line in self._rows(period, report):
                    write(line)
                    count += 1
            except AnswerLost as error:
                raise LedgerUnavailable from error
            file.write(msgspec.json.encode({"rows": count, "sha256": digest.hexdigest()}) + b"\n")
        return count

    async def restore(self, path: Path, report: Progress = _ignore) -> str:
        """Insert every row that does not exist. Returns the period. Reports progress in rows. Idempotent.

        Raises `ArchiveDamaged` before anything is written, `AlreadyExists` if a row exists with other content, and
        `LedgerUnavailable`.
        """
        head = _read_head(path)
        rows = sum(1 for _ in _read_rows(path))  # reads the whole file, so that nothing of a damaged one is written
        for row in head.prices:
            await self._prices.restore(_price_adapter.validate_python(row))
        try:
            await self._insert_all(path, rows, report)
        except AnswerLost as error:
            raise LedgerUnavailable from error
        return head.period

    async def _rows(self, period: str, report: Progress) -> AsyncIterator[_Line]:
        """Read all rows of a period, tenant after tenant."""
        registered = [row async for row in self._store.scan(REGISTRY_TABLE, period, "", "~")]
        by_tenant = groupby(registered, key=lambda row: lane_from(row.key, period).tenant_id)
        tenants = [[*rows] for _, rows in by_tenant]
        for done, rows in enumerate(tenants, start=1):
            partitions = []
            for row in rows:
                yield _Line(table=REGISTRY_TABLE, partition=period, key=row.key, fields=decoded_fields(row.fields))
                partitions.append(row.key)
            async for line in self._lanes(table_of(period), partitions):
                yield line
            for partition in partitions:
                async for line in self._rollups(table_of(period).replace("ledger", "rollup"), partition):
                    yield line
            report(done, len(tenants))

    async def _lanes(self, table: str, partitions: list[str]) -> AsyncIterator[_Line]:
        """Read all lanes of a tenant as they were at one moment. Raises `PeriodMoves` if they never stand still."""
        # Entries are immutable, so each is read once. All else is read again until no balance changed meanwhile:
        # every commit changes the balance of its lane, and a transfer that of two lanes.
        unread = dict.fromkeys(partitions, _FIRST_ENTRY_KEY)
        for _ in range(_READING_ATTEMPTS):
            balances = await self._get_all(table, partitions, BALANCE_KEY)
            rest: list[_Line] = []
            for partition, balance in balances.items():
                for range_ in _OTHER_RANGES:
                    rest += [line async for line in self._scan(table, partition, *range_)]
                rest.append(_Line(table=table, partition=partition, key=BALANCE_KEY, fields=dict(balance.fields)))
                end = entry_key(int(balance.fields["seq"]) + 1)
                async for line in self._scan(table, partition, unread[partition], end):
                    yield line
                unread[partition] = end
            if _are_same(balances, await self._get_all(table, list(balances), BALANCE_KEY)):
                for line in rest:
                    yield line
                return
        raise PeriodMoves(f"The lanes of {partitions[0]} changed during each of {_READING_ATTEMPTS} readings.")

    async def _rollups(self, table: str, partition: str) -> AsyncIterator[_Line]:
        """Read a lane's rollups as they were at one moment, and their watermark last.

        Raises `PeriodMoves` if they never stand still.
        """
        for _ in range(_READING_ATTEMPTS):
            marks = await self._get_all(table, [partition], _WATERMARK_KEY)
            rows = [line async for line in self._scan(table, partition, *_ROLLUP_RANGE)]
            if _are_same(marks, await self._get_all(table, list(marks), _WATERMARK_KEY)):
                rows += [
                    _Line(table=table, partition=partition, key=_WATERMARK_KEY, fields=dict(mark.fields))
                    for mark in marks.values()
                ]
                for line in rows:
                    yield line
                return
        raise PeriodMoves(f"The rollups of {partition} changed during each of {_READING_ATTEMPTS} readings.")

    async def _scan(self, table: str, partition: str, first: str, end: str) -> AsyncIterator[_Line]:
        async for row in self._store.scan(table, partition, first, end):
            yield _Line(table=table, partition=partition, key=row.key, fields=decoded_fields(row.fields))

    async def _get_all(self, table: str, partitions: list[str], key: str) -> dict[str, Row]:
        """Read the row `key` of each partition that has one."""
        found = {partition: await self._get(table, partition, key) for partition in partitions}
        return {partition: row for partition, row in found.items() if row is not None}

    async def _get(self, table: str, partition: str, key: str) -> Row | None:
        try:
            return await self._store.get(table, partition, key)
        except TableMissing:
            return None

    async def _insert_all(self, path: Path, rows: int, report: Progress) -> None:
        """Insert the rows in batches. A transaction takes rows of one partition only."""
        batch: list[_Line] = []
        for done, line in enumerate(_read_rows(path)):
            if batch and (
                len(batch) == _BATCH_ROWS or (batch[0].table, batch[0].partition) != (line.table, line.partition)
            ):
                await self._insert(batch)
                batch = []
                report(done, rows)
            batch.append(line)
        if batch:
            await self._insert(batch)
        report(rows, rows)

    async def _insert(self, batch: list[_Line]) -> None:
        table, partition = batch[0].table, batch[0].partition
        await self._store.create_table(table)
        try:
            await self._store.submit(table, partition, [Insert(line.key, line.fields) for line in batch], "restore")
        except RowExists:  # by an interrupted restore, perhaps: insert one by one those that are missing
            for line in batch:
                await self._insert_one(line)

    async def _insert_one(self, line: _Line) -> None:
        """Insert one row. Raises `AlreadyExists` if it exists with other content."""
        try:
            await self._store.submit(line.table, line.partition, [Insert(line.key, line.fields)], "restore")
        except RowExists:
            found = await self._store.get(line.table, line.partition, line.key)
            if found is None or dict(found.fields) != line.fields:
                raise AlreadyExists(
                    f"{line.table} {line.partition} {line.key} holds something else. Restore into an empty account."
                ) from None


def _are_same(before: dict[str, Row], after: dict[str, Row]) -> bool:
    return {key: row.fields for key, row in before.items()} == {key: row.fields for key, row in after.items()}


def _read_head(path: Path) -> _Head:
    """Read the first line. Raises `ArchiveDamaged` if it is not the head of an archive."""
    try:
        found = msgspec.json.decode(next(_lines(path), b""), type=_Head)
    except msgspec.DecodeError:
        found = None
    if found is None or found.format != FORMAT:
        raise ArchiveDamaged(f"{path} is not an archive of a period.")
    return found


def _read_rows(path: Path) -> Iterator[_Line]:
    """Read the rows one by one. Raises `ArchiveDamaged`, at the latest after the last, if `export` did not write it."""
    # A line is handled when the next one is there, because only the end of the file shows which line is the last.
    digest, count, previous = hashlib.sha256(), 0, b""
    for number, line in enumerate(_lines(path)):
        if previous:
            digest.update(previous)
            if number > 1:
                count += 1
                yield _parse_row(path, previous)
        previous = line
    if previous != msgspec.json.encode({"rows": count, "sha256": digest.hexdigest()}) + b"\n":
        raise ArchiveDamaged(f"{path} is damaged or cut off.")


def _parse_row(path: Path, line: bytes) -> _Line:
    try:
        return msgspec.json.decode(line, type=_Line)
    except msgspec.DecodeError as error:
        raise ArchiveDamaged(f"{path} is damaged or cut off.") from error


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path, "rb") as file:
            yield from file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ArchiveDamaged(f"{path} is damaged or cut off.") from error
