"""What is configured rather than counted: one JSON document a row, read through azure-data-tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A stored document and the ETag of its version."""

    partition: str
    key: str
    text: str
    etag: str


class Documents(Protocol):
    """Tables of documents. Every method raises `StorageUnavailable` if storage cannot be reached."""

    async def get(self, table: str, partition: str, key: str) -> Document | None:
        """The document, or `None`."""
        ...

    async def insert(self, table: str, partition: str, key: str, text: str) -> str:
        """Add a document and return its ETag; `AlreadyExists` if there is one."""
        ...

    async def replace(self, table: str, partition: str, key: str, text: str, etag: str) -> str:
        """Replace the version `etag` (`*` for any) and return the new ETag; `VersionConflict` if it is not current."""
        ...

    async def put(self, table: str, partition: str, key: str, text: str) -> None:
        """Insert or replace."""
        ...

    async def remove(self, table: str, partition: str, key: str) -> None:
        """Delete a document; harmless if there is none."""
        ...

    async def list(
        self, table: str, *, partition: str | None = None, after: str = "", limit: int | None = None
    ) -> list[Document]:
        """Documents by partition and key: of one partition, or of those after `after`; at most `limit`."""
        ...


def key_of(name: str) -> str:
    """A name as a table key, reversible: `/`, `\\`, `#`, `?`, `%` and control characters may not stand in one."""
    return quote(name, safe=" ").replace("%", "=")
