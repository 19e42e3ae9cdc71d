"""The port to documents: everything that is configured and not counted, as one JSON document a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol
from urllib.parse import quote, unquote

from shared.domain.values import record, value

OUTBOX: Final = "~audit|"
"""The keys of rows that hold audit events begin so. No key of a document does: `key_of` encodes the bar."""


@record
class Document:
    """A stored document and the ETag of its version."""

    partition: str
    key: str
    text: str
    etag: str
    event_id: str = ""
    """The id of the audit event that was written with this version; empty if there was none."""


@value
class OutboxRow:
    """An audit event that is written together with the change of a document."""

    event_id: str
    text: str


@record
class Pending:
    """An event that waits in the partition of its document until it is chained."""

    table: str
    partition: str
    event_id: str
    text: str


@record
class Write:
    """One document of a transaction."""

    key: str
    text: str | None
    """`None` deletes the document."""
    etag: str | None
    """The version to replace or to delete, `*` for any; `None` to insert it."""
    event: OutboxRow | None = None


class Documents(Protocol):
    """Tables of documents. Every method raises `StorageUnavailable` if storage could not be reached.

    A write takes an event: both are stored, or neither. No reading of documents returns events.
    """

    async def get(self, table: str, partition: str, key: str) -> Document | None:
        """Read a document; `None` if it does not exist."""
        ...

    async def insert(self, table: str, partition: str, key: str, text: str, event: OutboxRow | None = None) -> str:
        """Add a document and return its ETag. Raises `AlreadyExists`."""
        ...

    async def replace(
        self, table: str, partition: str, key: str, text: str, etag: str, event: OutboxRow | None = None
    ) -> str:
        """Replace the version `etag` (`*` for any) and return the new ETag.

        Raises `VersionConflict` if that version is no longer current or the document does not exist.
        """
        ...

    async def commit(self, table: str, partition: str, writes: Sequence[Write]) -> list[str]:
        """Write or delete at most 100 documents of a partition, or none of them. Returns the ETags of those written.

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

    async def remove_version(self, document: Document, table: str, event: OutboxRow) -> None:
        """Delete a document in the version that was read. Raises `VersionConflict` if another stands there, or none."""
        ...

    async def append(self, table: str, partition: str, event: OutboxRow) -> None:
        """Store an event that belongs to no document. Raises `AlreadyExists` if one with its id waits there."""
        ...

    async def pending(self, table: str, limit: int) -> list[Pending]:
        """Return at most `limit` events that wait in a table; none if the table is missing. In no order."""
        ...

    async def withdraw(self, event: Pending) -> None:
        """Delete a waiting event. Harmless if there is none."""
        ...

    async def list(
        self,
        table: str,
        *,
        partition: str | None = None,
        after: str = "",
        before: str = "",
        limit: int | None = None,
    ) -> list[Document]:
        """Read at most `limit` documents, ordered by partition and key; none if the table is missing.

        Reads one partition, or all. `after` and `before` bound the keys of the one, or the names of all; both are
        exclusive, and an empty text is no bound.
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
