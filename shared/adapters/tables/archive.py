"""Archives: all rows of a period in one file, exported from one storage account and restored into another.

The file is gzip over JSON lines. The first line has the format, the period and the price book. Each row is a line, with
all properties that it has; the balances of a tenant's lanes follow all of their entries. Rows that the gateway never
writes are there, too, because they may be evidence. The last line has the number of rows and the SHA-256 of all lines
before it.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import AsyncIterator, Callable
from itertools import groupby
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from shared.adapters.tables.archive_file import FORMAT, ArchiveDamaged, Head, Line, read_head, read_rows
from shared.adapters.tables.archived_prices import archived_prices, prices_from
from shared.adapters.tables.rollups import WATERMARK_KEY, rollup_table_of
from shared.adapters.tables.rows import BALANCE_KEY, REGISTRY_TABLE, entry_key, table_of
from shared.adapters.tables.store import AnswerLost, Insert, InspectableStore, InspectedRow, RowExists
from shared.application.ports.pricing import PriceStore
from shared.domain.errors import AlreadyExists, GatewayError, LedgerUnavailable, PriceContradicted

_FIRST_ENTRY_KEY: Final = "E|"
_READING_ATTEMPTS: Final = 20
_BATCH_ROWS: Final = 50


Progress: TypeAlias = Callable[[int, int], None]
"""Called with the number of parts done and the number of all parts."""


def _ignore(_done: int, _total: int) -> None:
    """Do nothing: the caller wants no progress."""


class PeriodMoves(GatewayError):
    """A lane changed each time that it was read, so that its rows are of no one moment."""


class PeriodArchive:
    """Exports and restores one period of the ledger."""

    def __init__(self, store: InspectableStore, prices: PriceStore, *, is_new: bool = False) -> None:
        """`is_new` tells that the store is empty, and nobody else writes: a row that exists is in the file twice."""
        self._store = store
        self._prices = prices
        self._is_new = is_new

    async def export(self, period: str, path: Path, report: Progress = _ignore, *, only: str | None = None) -> int:
        """Write a period, or its tenant `only`, to a new file. Returns the number of rows. Reports progress in tenants.

        Raises `PeriodMoves` for a tenant whose lanes change during each reading, and `LedgerUnavailable`.
        """
        prices = archived_prices((await self._prices.load()).readable)
        digest, count = hashlib.sha256(), 0
        with path.open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as file:

            def write(line: object) -> None:
                encoded = msgspec.json.encode(line) + b"\n"
                digest.update(encoded)
                file.write(encoded)

            write(Head(format=FORMAT, period=period, prices=prices))
            try:
                async for line in self._rows(period, report, only):
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
        head = read_head(path)
        rows = sum(1 for _ in read_rows(path))  # reads the whole file, so that nothing of a damaged one is written
        await self._restore_prices(path, head)
        try:
            await self._insert_all(path, rows, report)
        except AnswerLost as error:
            raise LedgerUnavailable from error
        return head.period

    async def _restore_prices(self, path: Path, head: Head) -> None:
        """Restore the prices of an archive. Raises `ArchiveDamaged` if they contradict each other in a new store."""
        try:
            for price in prices_from(head.prices):
                await self._prices.restore(price)
        except ValueError as error:
            raise ArchiveDamaged(f"{path} has a price that cannot be read.") from error
        except (AlreadyExists, PriceContradicted) as error:
            if not self._is_new:
                raise
            raise ArchiveDamaged(f"{path} has prices that contradict each other: {error}") from error

    async def _rows(self, period: str, report: Progress, only: str | None) -> AsyncIterator[Line]:
        """Read all rows of a period, tenant after tenant, also in partitions that the registry does not name."""
        table, rollups = table_of(period), rollup_table_of(period)
        first, end = ("", "") if only is None else (f"{only}|", f"{only}}}")
        partitions = {name async for name in self._store.partitions(table, first, end)}
        partitions |= {name async for name in self._store.partitions(rollups, first, end)}
        registered = {row.key: row async for row in self._store.inspect(REGISTRY_TABLE, period, first, end)}
        names = sorted(partitions | registered.keys())
        tenants = [[*of_tenant] for _, of_tenant in groupby(names, key=lambda name: name.partition("|")[0])]
        for done, lanes in enumerate(tenants, start=1):
            for partition in lanes:
                if partition in registered:
                    yield _line(REGISTRY_TABLE, period, registered[partition])
            async for line in self._lanes(table, lanes):
                yield line
            for partition in lanes:
                async for line in self._rollups(rollups, partition):
                    yield line
            report(done, len(tenants))

    async def _lanes(self, table: str, partitions: list[str]) -> AsyncIterator[Line]:
        """Read all lanes of a tenant as they were at one moment. Raises `PeriodMoves` if they never stand still."""
        # Entries are immutable, so each is read once. All else is read again until no balance changed meanwhile:
        # every commit changes the balance of its lane, and a transfer that of two lanes.
        unread = dict.fromkeys(partitions, _FIRST_ENTRY_KEY)
        for _ in range(_READING_ATTEMPTS):
            balances = await self._get_all(table, partitions, BALANCE_KEY)
            rest: list[Line] = []
            for partition in partitions:
                balance = balances.get(partition)
                end = entry_key(_last_entry(balance) + 1)
                rest += await self._others(table, partition, end)
                if balance is not None:
                    rest.append(_line(table, partition, balance))
                async for line in self._scan(table, partition, unread[partition], end):
                    yield line
                unread[partition] = max(end, unread[partition])
            if balances == await self._get_all(table, partitions, BALANCE_KEY):
                for line in rest:
                    yield line
                return
        raise PeriodMoves(f"The lanes of {partitions[0]} changed during each of {_READING_ATTEMPTS} readings.")

    async def _others(self, table: str, partition: str, end: str) -> list[Line]:
        """Read a lane's rows other than its balance and its entries before `end`: they may change meanwhile."""
        ranges = (("", _FIRST_ENTRY_KEY), (end, ""))
        lines = [line for range_ in ranges async for line in self._scan(table, partition, *range_)]
        return [line for line in lines if line.key != BALANCE_KEY]

    async def _rollups(self, table: str, partition: str) -> AsyncIterator[Line]:
        """Read a lane's rollups as they were at one moment, and their watermark last.

        Raises `PeriodMoves` if they never stand still.
        """
        for _ in range(_READING_ATTEMPTS):
            marks = await self._get_all(table, [partition], WATERMARK_KEY)
            rows = [line async for line in self._scan(table, partition, "", "")]
            if marks == await self._get_all(table, [partition], WATERMARK_KEY):
                for line in sorted(rows, key=lambda line: line.key == WATERMARK_KEY):
                    yield line
                return
        raise PeriodMoves(f"The rollups of {partition} changed during each of {_READING_ATTEMPTS} readings.")

    async def _scan(self, table: str, partition: str, first: str, end: str) -> AsyncIterator[Line]:
        async for row in self._store.inspect(table, partition, first, end):
            yield _line(table, partition, row)

    async def _get_all(self, table: str, partitions: list[str], key: str) -> dict[str, InspectedRow]:
        """Read the row `key` of each partition that has one."""
        return {
            partition: row
            for partition in partitions
            async for row in self._store.inspect(table, partition, key, f"{key} ")  # no key sorts between
        }

    async def _insert_all(self, path: Path, rows: int, report: Progress) -> None:
        """Insert the rows in batches. A transaction takes rows of one partition only."""
        batch: list[Line] = []
        for done, line in enumerate(read_rows(path)):
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

    async def _insert(self, batch: list[Line]) -> None:
        table, partition = batch[0].table, batch[0].partition
        await self._store.create_table(table)
        try:
            await self._store.submit(table, partition, [Insert(line.key, line.fields) for line in batch], "restore")
        except RowExists:  # by an interrupted restore, perhaps: insert one by one those that are missing
            for line in batch:
                await self._insert_one(line)

    async def _insert_one(self, line: Line) -> None:
        """Insert one row. Raises `AlreadyExists` if it exists with other content."""
        try:
            await self._store.submit(line.table, line.partition, [Insert(line.key, line.fields)], "restore")
        except RowExists:
            if self._is_new:
                raise ArchiveDamaged(
                    f"The file names the row {line.table} {line.partition} {line.key} twice."
                ) from None
            found = await self._store.get(line.table, line.partition, line.key)
            if found is None or dict(found.fields) != line.fields:
                raise AlreadyExists(
                    f"{line.table} {line.partition} {line.key} holds something else. Restore into an empty account."
                ) from None


def _line(table: str, partition: str, row: InspectedRow) -> Line:
    return Line(table=table, partition=partition, key=row.key, fields=dict(row.fields))


def _last_entry(balance: InspectedRow | None) -> int:
    """Return the number of the last entry; 0 if there is no balance, or none that can be read."""
    seq = balance.fields.get("seq") if balance else None
    return seq if isinstance(seq, int) else 0
