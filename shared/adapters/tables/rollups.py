"""Rollups in tables `rollup{YYYYMM}`. A lane's rollups and its watermark share a partition."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping

from shared.adapters.tables.rows import partition_of
from shared.adapters.tables.store import (
    AnswerLost,
    Insert,
    Merge,
    PreconditionFailed,
    Row,
    RowChange,
    RowExists,
    TableMissing,
    TableStore,
)
from shared.application.ports.ledger import Watermark
from shared.domain.errors import LedgerUnavailable, RowsDamaged
from shared.domain.ledger.balance import Lane
from shared.domain.ledger.rollup import ROLLUP, ROLLUP_KEY, Rollup, RollupKey
from shared.domain.stored_fields import Fields, FieldValue

WATERMARK_KEY = "W"
_RANGE = ("R|", "R}")


class TableRollups:
    """Implements `RollupStore`."""

    def __init__(self, store: TableStore) -> None:
        self._store = store

    async def watermark(self, lane: Lane) -> Watermark:
        row = await self._get(lane, WATERMARK_KEY)
        if row is None:
            return Watermark(0, "")
        try:
            return Watermark(int(row.fields["seq"]), row.etag)
        except (LookupError, ValueError) as error:
            raise _damaged(row, lane, error) from error

    async def rows(self, lane: Lane) -> AsyncIterator[tuple[RollupKey, Rollup]]:
        try:
            async for row in self._store.scan(rollup_table_of(lane.period), partition_of(lane), *_RANGE):
                yield _readable(row, lane)
        except AnswerLost as error:
            raise LedgerUnavailable from error

    async def advance(self, lane: Lane, since: Watermark, seq: int, added: Mapping[RollupKey, Rollup]) -> bool:
        # One transaction under the ETags of the watermark and of every sum: of two processes only one succeeds.
        keys = [rollup_row_key(key) for key in added]
        before = await asyncio.gather(*(self._get(lane, key) for key in keys))
        mark: Fields = {"seq": seq}
        changes: list[RowChange] = [
            Merge(WATERMARK_KEY, mark, since.etag) if since.etag else Insert(WATERMARK_KEY, mark)
        ]
        for row_key, (key, sums), row in zip(keys, added.items(), before, strict=True):
            if row is None:
                changes.append(Insert(row_key, _fields(key, sums)))
            else:
                changes.append(Merge(row_key, _fields(key, _readable(row, lane)[1] + sums), row.etag))
        try:
            await self._store.create_table(rollup_table_of(lane.period))
            await self._store.submit(rollup_table_of(lane.period), partition_of(lane), changes, f"rollup-{seq}")
        except (PreconditionFailed, RowExists, TableMissing):  # the table is missing if an operator has just dropped it
            return False
        except AnswerLost as error:
            raise LedgerUnavailable from error
        return True

    async def _get(self, lane: Lane, key: str) -> Row | None:
        try:
            return await self._store.get(rollup_table_of(lane.period), partition_of(lane), key)
        except TableMissing:
            return None
        except AnswerLost as error:
            raise LedgerUnavailable from error


def _readable(row: Row, lane: Lane) -> tuple[RollupKey, Rollup]:
    """Read a rollup. Raises `RowsDamaged`, which names it."""
    try:
        return rollup_from(row.fields)
    except (LookupError, TypeError, ValueError) as error:
        raise _damaged(row, lane, error) from error


def _damaged(row: Row, lane: Lane, error: Exception) -> RowsDamaged:
    name = f"{rollup_table_of(lane.period)}/{partition_of(lane)}/{row.key}"
    return RowsDamaged(f"The rollup {name} cannot be read ({error!r}). Drop its table: it is summed again.")


def rollup_table_of(period: str) -> str:
    """Return the table of a period's rollups."""
    return "rollup" + period.replace("-", "")


def rollup_row_key(key: RollupKey) -> str:
    """Return the key of a rollup. Names are hashed, because they may contain characters that a key must not."""
    names = f"{key.deployment}\x00{key.user}\x00{key.model}"
    if key.application:  # rows of earlier versions and of keys have none
        names = f"{names}\x00{key.application}"
    return f"R|{key.day}|{hashlib.sha256(names.encode()).hexdigest()}"


def _fields(key: RollupKey, sums: Rollup) -> Fields:
    return ROLLUP_KEY.write(key) | ROLLUP.write(sums)


def rollup_from(fields: Mapping[str, FieldValue]) -> tuple[RollupKey, Rollup]:
    """Build a rollup and its group from a row `R`."""
    return ROLLUP_KEY.read(fields), ROLLUP.read(fields)
