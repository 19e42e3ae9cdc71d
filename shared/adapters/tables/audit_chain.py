"""The chains of audit events in the table `auditlog`, with a partition for each month.

Rows: `B` is the head, `E|{seq}` an entry, and `U|{event_id}` makes the event of an entry unique.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from shared.adapters.tables.entity_group import SERVICE_FIELDS
from shared.adapters.tables.store import (
    AnswerLost,
    Delete,
    Insert,
    Merge,
    PreconditionFailed,
    Rejected,
    RowChange,
    RowExists,
    RowMissing,
    TableMissing,
    TableStore,
)
from shared.domain.audit.audit_chain import AuditHead, ChainedEvent, WaitingEvent, audit_genesis
from shared.domain.audit.hash_chain import HashChain, Sealed
from shared.domain.errors import RowsDamaged, StorageUnavailable
from shared.domain.stored_fields import Fields, FieldValue
from shared.domain.values import value

AUDIT_LOG_TABLE: Final = "auditlog"
HEAD_KEY: Final = "B"
_PART_CHARACTERS: Final = 16_000
"""A property of the service holds 65,536 bytes in UTF-16."""
_BATCH_EVENTS: Final = 49
"""An entry and a mark for each, and the head, are at most 100 rows."""
_BATCH_CHARACTERS: Final = 250_000
"""A transaction holds 4 MiB, and JSON in ASCII up to 12 bytes for a character. One event may be longer."""
_DELETED_AT_ONCE: Final = 100
_READ_AT_ONCE: Final = 1000
_MAX_CONFLICTS: Final = 50
_MONTH: Final = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")
_UNAVAILABLE: Final = "The audit log could not be stored or read. Retry."
_FIELDS: Final[Mapping[str, type]] = {
    "seq": int, "event_id": str, "event": str, "method": str, "key_version": str, "hash": str, "mac": str
}  # fmt: skip


def entry_key(seq: int) -> str:
    """Return the key of an entry. Leading zeros make keys sort like numbers."""
    return f"E|{seq:016}"


def mark_key(event_id: str) -> str:
    """Return the key of the row that makes an event unique."""
    return f"U|{event_id}"


@value
class _Head:
    """The stored head, and its ETag; an empty ETag if there is none yet."""

    head: AuditHead
    version: int
    etag: str


class TableAuditChain:
    """Implements `AuditChain`."""

    def __init__(self, store: TableStore, chain: HashChain) -> None:
        self._store = store
        self._chain = chain

    async def append(self, period: str, events: Sequence[WaitingEvent]) -> int:
        added = 0
        once = dict[str, WaitingEvent]()
        for event in events:  # somebody may have copied a waiting row
            once.setdefault(event.event_id, event)
        for batch in _batches(once.values()):
            async with _translated_errors():
                added += await self._append(period, batch)
        return added

    async def _append(self, period: str, batch: Sequence[WaitingEvent]) -> int:
        for _ in range(_MAX_CONFLICTS):
            stored = await self._head(period)
            new = [each for each in batch if await self._is_new(period, each)]
            if not new:
                return 0
            try:
                await self._store.submit(AUDIT_LOG_TABLE, period, self._changes(stored, new), f"audit-{stored.version}")
            except TableMissing:
                await self._store.create_table(AUDIT_LOG_TABLE)
            except (PreconditionFailed, RowExists):  # another process was faster: see what it has chained
                continue
            else:
                return len(new)
        raise StorageUnavailable(_UNAVAILABLE)

    def _changes(self, stored: _Head, events: Sequence[WaitingEvent]) -> list[RowChange]:
        """Return the head after these events, and the rows of each."""
        seq, head = stored.head.seq, stored.head.head
        rows: list[RowChange] = []
        for seq, event in enumerate(events, seq + 1):  # noqa: B020 - the number goes on from that of the head
            fields: Fields = {"seq": seq, "event_id": event.event_id, "event": event.text}
            head = self._chain.seal(head, fields)
            rows += (Insert(entry_key(seq), _spread(fields)), Insert(mark_key(event.event_id), {"seq": seq}))
        moved: Fields = {"seq": seq, "head": head, "version": stored.version + 1}
        # The head comes first, because an emulator reports the first change that fails.
        return [Merge(HEAD_KEY, moved, stored.etag) if stored.etag else Insert(HEAD_KEY, moved), *rows]

    async def _is_new(self, period: str, event: WaitingEvent) -> bool:
        try:
            return await self._store.get(AUDIT_LOG_TABLE, period, mark_key(event.event_id)) is None
        except TableMissing:
            return True

    async def _head(self, period: str) -> _Head:
        try:
            row = await self._store.get(AUDIT_LOG_TABLE, period, HEAD_KEY)
        except TableMissing:
            row = None
        if row is None:
            return _Head(AuditHead(period, 0, audit_genesis(period)), 0, "")
        try:
            head = AuditHead(period, int(row.fields["seq"]), str(row.fields["head"]))
            return _Head(head, int(row.fields["version"]), row.etag)
        except (KeyError, ValueError) as error:
            raise RowsDamaged(f"The head of the audit log of {period} cannot be read.") from error

    async def head(self, period: str) -> AuditHead | None:
        async with _translated_errors():
            stored = await self._head(period)
        return stored.head if stored.etag else None

    async def entries(self, period: str, first: int, last: int) -> AsyncIterator[ChainedEvent]:
        async with _translated_errors():
            async for row in self._store.scan(AUDIT_LOG_TABLE, period, entry_key(first), entry_key(last + 1)):
                yield _entry(row.key, row.fields)

    async def unique_ids(self, period: str) -> AsyncIterator[tuple[str, int]]:
        async with _translated_errors():
            async for row in self._store.scan(AUDIT_LOG_TABLE, period, "U|", "U}"):
                yield row.key.removeprefix("U|"), _number(row.fields.get("seq"))

    async def periods(self, first: str = "", end: str = "") -> AsyncIterator[str]:
        async with _translated_errors():
            async for period in self._store.partitions(AUDIT_LOG_TABLE, first, end):
                if _MONTH.fullmatch(period):  # something else may have written into the table
                    yield period

    async def remove(self, period: str, last: int) -> int:
        removed = 0
        async for entry in self.entries(period, 1, last):
            first = entry.seq
            break
        else:
            return 0
        while last >= first:
            found = [each async for each in self.entries(period, max(first, last - _READ_AT_ONCE + 1), last)]
            for batch in _batches_to_remove(found):
                async with _translated_errors():
                    removed += await self._delete(period, batch)
            last -= _READ_AT_ONCE
        return removed

    async def _delete(self, period: str, keys: Sequence[str]) -> int:
        try:
            await self._store.submit(AUDIT_LOG_TABLE, period, [Delete(key) for key in keys], "audit-remove")
        except RowMissing:  # an earlier run has deleted some of them
            for key in keys:
                await self._delete_one(period, key)
        return len(keys) // 2

    async def _delete_one(self, period: str, key: str) -> None:
        try:
            await self._store.submit(AUDIT_LOG_TABLE, period, [Delete(key)], "audit-remove")
        except RowMissing:
            return


def _batches(events: Iterable[WaitingEvent]) -> Iterator[list[WaitingEvent]]:
    """Split events into parts, each for one transaction."""
    batch, characters = list[WaitingEvent](), 0
    for event in events:
        if batch and (len(batch) == _BATCH_EVENTS or characters + len(event.text) > _BATCH_CHARACTERS):
            yield batch
            batch, characters = [], 0
        batch.append(event)
        characters += len(event.text)
    if batch:
        yield batch


def _batches_to_remove(entries: Sequence[ChainedEvent]) -> Iterator[list[str]]:
    """Yield the keys of rows in batches that are not larger than a transaction, the last entries first."""
    keys = [key for entry in reversed(entries) for key in (entry_key(entry.seq), mark_key(entry.event_id))]
    for at in range(0, len(keys), _DELETED_AT_ONCE):
        yield keys[at : at + _DELETED_AT_ONCE]


def _spread(fields: Fields) -> Fields:
    """Return the row of an entry. A text that is too long for one property is spread over several."""
    text = str(fields["event"])
    parts = [text[at : at + _PART_CHARACTERS] for at in range(0, len(text), _PART_CHARACTERS)]
    more = {f"event{number}": part for number, part in enumerate(parts[1:], 1)}
    return {**fields, "event": parts[0], **more}


def _joined(fields: Mapping[str, FieldValue]) -> Fields:
    """Return the fields of an entry: the inverse of `_spread`."""
    row = dict(fields)
    parts = list(itertools.takewhile(row.__contains__, (f"event{number}" for number in itertools.count(1))))
    row["event"] = "".join(str(row[name]) for name in ("event", *parts) if name in row)
    return {name: each for name, each in row.items() if name not in parts}


def _entry(key: str, fields: Mapping[str, FieldValue]) -> ChainedEvent:
    """Read the row of an entry as it is, with everything that is wrong about its form."""
    row = {name: each for name, each in _joined(fields).items() if name not in SERVICE_FIELDS}
    if "seq" in row:  # 64-bit integers come as text
        row["seq"] = _number(row["seq"])
    faults = [
        f"{name} is missing, or of another type" for name, kind in _FIELDS.items() if type(row.get(name)) is not kind
    ]
    faults += [f"{name} is no property of an entry" for name in row if name not in _FIELDS]
    seq = _number(key.removeprefix("E|"))
    if row.get("seq") != seq or key != entry_key(seq):
        faults.append(f"the number in it is {row.get('seq')}")
    return ChainedEvent(
        seq=seq,
        event_id=str(row.get("event_id", "")),
        text=str(row["event"]),
        sealed=Sealed.from_fields(row),
        faults=faults,
    )


def _number(text: object) -> int:
    """Return a number of a row; -1 if it is none."""
    try:
        return int(str(text))
    except ValueError:
        return -1


@asynccontextmanager
async def _translated_errors() -> AsyncIterator[None]:
    """Raise errors of the table service as those of the port."""
    try:
        yield
    except (AnswerLost, Rejected) as error:
        raise StorageUnavailable(_UNAVAILABLE) from error
