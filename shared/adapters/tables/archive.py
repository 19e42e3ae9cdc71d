"""A period's rows as a file: taken out of one account, put into another, or verified where they are.

The file is gzip over JSON lines: a head with the format, the period and the price book; one line a row, the balances of
a tenant's lanes after all of their entries; a tail with the number of rows and the SHA-256 of all lines before it.
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

from shared.adapters.tables.entity_group import plain
from shared.adapters.tables.rows import BALANCE_KEY, REGISTRY_TABLE, entry_key, lane_from, table_of
from shared.adapters.tables.store import AnswerLost, Insert, Row, RowExists, TableMissing, TableStore
from shared.application.ports.pricing import PriceStore
from shared.domain.errors import AlreadyExists, GatewayError, LedgerUnavailable
from shared.domain.pricing.price_book import Price
from shared.domain.stored_fields import Fields

FORMAT: Final = "tallygate-period-1"
_FIRST_ENTRY: Final = "E|"
_WATERMARK: Final = "W"
_ROLLUPS: Final = ("R|", "R}")
_MOVABLE: Final = (("G|", "G}"), ("L|", "L}"), ("P|", "P}"), ("X|", "X}"))
_ATTEMPTS_ON_MOVING_LANE: Final = 20
_BATCH: Final = 50
_prices = TypeAdapter(list[Price])
_price = TypeAdapter(Price)


Progress: TypeAlias = Callable[[int, int], None]
"""Called with the number of parts that are done, and of all parts."""


def _ignore(_done: int, _total: int) -> None:
    """Report progress to nobody."""


class ArchiveDamaged(GatewayError):
    """The file is not an archive of a period, or not the whole of one."""


class PeriodMoves(GatewayError):
    """A lane changed during each of several readings."""


class _Head(msgspec.Struct):
    format: str
    period: str
    prices: list[dict[str, str | None]]


class _Line(msgspec.Struct, array_like=True):
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
        """Write the file; returns the number of its rows. Reports tenants.

        Raises `PeriodMoves` for a lane that changes during each of several readings, and `LedgerUnavailable`.
        """
        prices = _prices.dump_python(list(await self._prices.load()), mode="json")
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
        """Insert every row that does not exist; returns the period. Reports rows. Idempotent.

        Raises `ArchiveDamaged` before anything is written, `AlreadyExists` where a row has other content, and
        `LedgerUnavailable`.
        """
        head = _read_head(path)
        rows = sum(1 for _ in _read_rows(path))  # nothing is written before the whole file has proved to be intact
        for row in head.prices:
            await self._prices.insert(_price.validate_python(row))
        try:
            await self._insert_all(path, rows, report)
        except AnswerLost as error:
            raise LedgerUnavailable from error
        return head.period

    async def _rows(self, period: str, report: Progress) -> AsyncIterator[_Line]:
        registered = [row async for row in self._store.scan(REGISTRY_TABLE, period, "", "~")]
        by_tenant = groupby(registered, key=lambda row: lane_from(row.key, period).tenant_id)
        tenants = [[*rows] for _, rows in by_tenant]
        for done, rows in enumerate(tenants, start=1):
            partitions = []
            for row in rows:
                yield _Line(table=REGISTRY_TABLE, partition=period, key=row.key, fields=plain(row.fields))
                partitions.append(row.key)
            async for line in self._lanes(table_of(period), partitions):
                yield line
            for partition in partitions:
                async for line in self._rollups(table_of(period).replace("ledger", "rollup"), partition):
                    yield line
            report(done, len(tenants))

    async def _lanes(self, table: str, partitions: list[str]) -> AsyncIterator[_Line]:
        """All lanes of a tenant as they were at one moment: entries as they are read, the rest once nothing moved."""
        unread = dict.fromkeys(partitions, _FIRST_ENTRY)
        for _ in range(_ATTEMPTS_ON_MOVING_LANE):
            balances = await self._get_all(table, partitions, BALANCE_KEY)
            rest: list[_Line] = []
            for partition, balance in balances.items():
                for range_ in _MOVABLE:
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
        raise PeriodMoves(f"The lanes of {partitions[0]} changed during each of {_ATTEMPTS_ON_MOVING_LANE} readings.")

    async def _rollups(self, table: str, partition: str) -> AsyncIterator[_Line]:
        """A lane's rollups as they were at one moment, their watermark at the end."""
        for _ in range(_ATTEMPTS_ON_MOVING_LANE):
            marks = await self._get_all(table, [partition], _WATERMARK)
            rows = [line async for line in self._scan(table, partition, *_ROLLUPS)]
            if _are_same(marks, await self._get_all(table, list(marks), _WATERMARK)):
                rows += [
                    _Line(table=table, partition=partition, key=_WATERMARK, fields=dict(mark.fields))
                    for mark in marks.values()
                ]
                for line in rows:
                    yield line
                return
        raise PeriodMoves(f"The rollups of {partition} changed during each of {_ATTEMPTS_ON_MOVING_LANE} readings.")

    async def _scan(self, table: str, partition: str, first: str, end: str) -> AsyncIterator[_Line]:
        async for row in self._store.scan(table, partition, first, end):
            yield _Line(table=table, partition=partition, key=row.key, fields=plain(row.fields))

    async def _get_all(self, table: str, partitions: list[str], key: str) -> dict[str, Row]:
        found = {partition: await self._get(table, partition, key) for partition in partitions}
        return {partition: row for partition, row in found.items() if row is not None}

    async def _get(self, table: str, partition: str, key: str) -> Row | None:
        try:
            return await self._store.get(table, partition, key)
        except TableMissing:
            return None

    async def _insert_all(self, path: Path, rows: int, report: Progress) -> None:
        batch: list[_Line] = []
        for done, line in enumerate(_read_rows(path)):
            if batch and (len(batch) == _BATCH or (batch[0].table, batch[0].partition) != (line.table, line.partition)):
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
        except RowExists:
            for line in batch:
                await self._insert_one(line)

    async def _insert_one(self, line: _Line) -> None:
        try:
            await self._store.submit(line.table, line.partition, [Insert(line.key, line.fields)], "restore")
        except RowExists:
            found = await self._store.get(line.table, line.partition, line.key)
            if found is None or dict(found.fields) != line.fields:
                raise AlreadyExists(
                    f"{line.table} {line.partition} {line.key} holds something else: restore into an empty account."
                ) from None


def _are_same(before: dict[str, Row], after: dict[str, Row]) -> bool:
    return {key: row.fields for key, row in before.items()} == {key: row.fields for key, row in after.items()}


def _read_head(path: Path) -> _Head:
    try:
        found = msgspec.json.decode(next(_lines(path), b""), type=_Head)
    except msgspec.DecodeError:
        found = None
    if found is None or found.format != FORMAT:
        raise ArchiveDamaged(f"{path} is not an archive of a period.")
    return found


def _read_rows(path: Path) -> Iterator[_Line]:
    """Every row; raises `ArchiveDamaged` at the end unless all that was written is there."""
    digest, count, tail = hashlib.sha256(), 0, b""
    for number, line in enumerate(_lines(path)):
        if tail:
            digest.update(tail)
            if number > 1:
                count += 1
                yield msgspec.json.decode(tail, type=_Line)
        tail = line
    if tail != msgspec.json.encode({"rows": count, "sha256": digest.hexdigest()}) + b"\n":
        raise ArchiveDamaged(f"{path} is damaged or cut off.")


def _lines(path: Path) -> Iterator[bytes]:
    try:
        with gzip.open(path, "rb") as file:
            yield from file
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ArchiveDamaged(f"{path} is damaged or cut off.") from error
