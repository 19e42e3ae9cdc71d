"""Documents in a dictionary."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from shared.adapters.documents.store import Document, OutboxRow, Pending, Write
from shared.domain.errors import AlreadyExists, VersionConflict


class InMemoryDocuments:
    """Implements `Documents` for one process, with the ETags and errors of a table service."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str, str], Document] = {}
        self._events: dict[tuple[str, str, str], Pending] = {}
        self._version = 0

    async def get(self, table: str, partition: str, key: str) -> Document | None:
        return self._rows.get((table, partition, key))

    async def insert(self, table: str, partition: str, key: str, text: str, event: OutboxRow | None = None) -> str:
        return (await self.commit(table, partition, [Write(key=key, text=text, etag=None, event=event)]))[0]

    async def replace(
        self, table: str, partition: str, key: str, text: str, etag: str, event: OutboxRow | None = None
    ) -> str:
        return (await self.commit(table, partition, [Write(key=key, text=text, etag=etag, event=event)]))[0]

    async def commit(self, table: str, partition: str, writes: Sequence[Write]) -> list[str]:
        for each in writes:
            known = self._rows.get((table, partition, each.key))
            if each.etag is None and known is not None:
                raise AlreadyExists("An object with this name already exists.")
            if each.etag is not None and (known is None or each.etag not in ("*", known.etag)):
                raise VersionConflict
        for each in writes:
            if each.text is None:
                del self._rows[table, partition, each.key]
        return [
            self._write(table, partition, each.key, each.text, each.event) for each in writes if each.text is not None
        ]

    async def put(self, table: str, partition: str, key: str, text: str) -> None:
        self._write(table, partition, key, text)

    async def remove(self, table: str, partition: str, key: str) -> None:
        self._rows.pop((table, partition, key), None)

    async def remove_version(self, document: Document, table: str, event: OutboxRow) -> None:
        known = self._rows.get((table, document.partition, document.key))
        if known is None or known.etag != document.etag:
            raise VersionConflict
        await self.append(table, document.partition, event)
        del self._rows[table, document.partition, document.key]

    async def append(self, table: str, partition: str, event: OutboxRow) -> None:
        if (table, partition, event.event_id) in self._events:
            raise AlreadyExists("An object with this name already exists.")
        self._events[table, partition, event.event_id] = Pending(
            table=table, partition=partition, event_id=event.event_id, text=event.text
        )

    async def pending(self, table: str, limit: int) -> list[Pending]:
        return list(islice((each for each in self._events.values() if each.table == table), limit))

    async def withdraw(self, event: Pending) -> None:
        self._events.pop((event.table, event.partition, event.event_id), None)

    async def list(
        self,
        table: str,
        *,
        partition: str | None = None,
        after: str = "",
        before: str = "",
        limit: int | None = None,
    ) -> list[Document]:
        chosen = (
            row
            for (in_table, of_partition, key), row in sorted(self._rows.items())
            if in_table == table
            and partition in (None, of_partition)
            and _is_between(after, of_partition if partition is None else key, before)
        )
        return list(islice(chosen, limit))

    def _write(self, table: str, partition: str, key: str, text: str, event: OutboxRow | None = None) -> str:
        self._version += 1
        etag, event_id = f'W/"{self._version}"', event.event_id if event else ""
        row = Document(partition=partition, key=key, text=text, etag=etag, event_id=event_id)
        self._rows[table, partition, key] = row
        if event is not None:
            self._events[table, partition, event_id] = Pending(
                table=table, partition=partition, event_id=event_id, text=event.text
            )
        return etag


def _is_between(after: str, name: str, before: str) -> bool:
    return name > after and (not before or name < before)
