"""The port to documents: everything that is configured and not counted, as one JSON document a row."""

from __future__ import annotations

from typing import Protocol
from urllib.parse import quote, unquote

from shared.domain.values import record


@record
class Document:
    """A stored document and the ETag of its version."""

    partition: str
    key: str
    text: str
    etag: str


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
