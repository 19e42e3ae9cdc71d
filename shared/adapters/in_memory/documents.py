"""Documents in a dictionary."""

from __future__ import annotations

from itertools import islice

from shared.adapters.documents.store import Document
from shared.domain.errors import AlreadyExists, VersionConflict


class InMemoryDocuments:
    """Implements `Documents` for one process, with the ETags and errors of a table service."""

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str, str], Document] = {}
        self._version = 0

    async def get(self, table: str, partition: str, key: str) -> Document | None:
        return self._rows.get((table, partition, key))

    async def insert(self, table: str, partition: str, key: str, text: str) -> str:
        if (table, partition, key) in self._rows:
            raise AlreadyExists("An object with this name already exists.")
        return self._write(table, partition, key, text)

    async def replace(self, table: str, partition: str, key: str, text: str, etag: str) -> str:
        known = self._rows.get((table, partition, key))
        if known is None or etag not in ("*", known.etag):
            raise VersionConflict
        return self._write(table, partition, key, text)

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
