"""Documents in a dictionary."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from shared.adapters.documents.store import Document, Write
from shared.domain.errors import AlreadyExists, VersionConflict


class InMemoryDocuments:
    """Implements `Documents` for one process, with the ETags and errors of a table service."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str, str], Document] = {}
        self._version = 0

    async def get(self, table: str, partition: str, key: str) -> Document | None:
        return self._rows.get((table, partition, key))

    async def insert(self, table: str, partition: str, key: str, text: str) -> str:
        return (await self.commit(table, partition, [Write(key, text, None)]))[0]

    async def replace(self, table: str, partition: str, key: str, text: str, etag: str) -> str:
        return (await self.commit(table, partition, [Write(key, text, etag)]))[0]

    async def commit(self, table: str, partition: str, writes: Sequence[Write]) -> list[str]:
        for each in writes:
            known = self._rows.get((table, partition, each.key))
            if each.etag is None and known is not None:
                raise AlreadyExists("An object with this name already exists.")
            if each.etag is not None and (known is None or each.etag not in ("*", known.etag)):
                raise VersionConflict
        return [self._write(table, partition, each.key, each.text) for each in writes]

    async def put(self, table: str, partition: str, key: str, text: str) -> None:
        self._write(table, partition, key, text)

    async def remove(self, table: str, partition: str, key: str) -> None:
        self._rows.pop((table, partition, key), None)

    async def list(
        self, table: str, *, partition: str | None = None, after: str = "", limit: int | None = None
    ) -> list[Document]:
        chosen = (
            row
            for (in_table, of_partition, _), row in sorted(self._rows.items())
            if in_table == table and (of_partition == partition if partition is not None else of_partition > after)
        )
        return list(islice(chosen, limit))

    def _write(self, table: str, partition: str, key: str, text: str) -> str:
        self._version += 1
        etag = f'W/"{self._version}"'
        self._rows[table, partition, key] = Document(partition=partition, key=key, text=text, etag=etag)
        return etag
