"""The port to documents: everything that is configured and not counted, as one JSON document a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol
from urllib.parse import quote, unquote

from shared.domain.values import record, value


@record
class Document:
    """A stored document and the ETag of its version."""

    partition: str
    key: str
    text: str
    etag: str


@value
class Write:
    """One document of a transaction."""

    key: str
    text: str
    etag: str | None
    """The version to replace, `*` for any; `None` to insert it."""


class Documents(Protocol):
    """Tables of documents. Every method raises `StorageUnavailable` if storage could not be reached."""

    async def get(self, table: str, partition: str, key: str) -> Document | None:
        """Read a document; `None` if it does not exist."""
        ...

    async def insert(self, table: str, partition: str, key: str, text: str) -> str:
        """Add a document and return its ETag. Raises `AlreadyExists`."""
        ...

    async def replace(self, table: str, partition: str, key: str, text: str, etag: str) -> str:
        """Replace the version `etag` (`*` for any) and return the new ETag.

        Raises `VersionConflict` if that version is no longer current or the document does not exist.
        """
        ...

    async def commit(self, table: str, partition: str, writes: Sequence[Write]) -> list[str]:
        """Write at most 100 documents of a partition, or none of them. Returns their ETags.

        Raises `AlreadyExists` and `VersionConflict` as `insert` and `replace` do. After `StorageUnavailable` they may
        all be written.
        """
        ...

    async def put(self, table: str, partition: str, key: str, text: str) -> None:
        """Insert or replace a document. Idempotent."""
        ...

    async def remove(self, table: str, partition: str, key: str) -> None:
        """Delete a document. Harmless if there is none."""
        ...

    async def list(
        self, table: str, *, partition: str | None = None, after: str = "", limit: int | None = None
    ) -> list[Document]:
        """Read at most `limit` documents, ordered by partition and key; none if the table is missing.

        Reads one partition, or all whose names come after `after`.
        """
        ...


def key_of(name: str) -> str:
    """Encode a name as a table key, reversibly.

    A key must not contain `/`, `\\`, `#`, `?` or control characters, and `%` causes trouble.
    https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model
    """
    return quote(name, safe=" ").replace("%", "=")


def name_of(key: str) -> str:
    """Decode a table key that `key_of` made."""
    return unquote(key.replace("=", "%"))
