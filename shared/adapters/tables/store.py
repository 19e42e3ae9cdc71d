"""What the ledger needs of a table service: point reads, range scans and entity group transactions.

https://learn.microsoft.com/rest/api/storageservices/performing-entity-group-transactions
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol, TypeAlias

from shared.domain.stored_fields import Fields, FieldValue
from shared.domain.values import value

MAX_BATCH_ROWS = 100


class StoreError(Exception):
    """Root of what a table service answers instead of success."""


class PreconditionFailed(StoreError):
    """412: the row's ETag is another one. Nothing was changed."""


class RowExists(StoreError):
    """409: an inserted row exists. Nothing was changed."""


class RowMissing(StoreError):
    """404: a deleted or merged row does not exist. Nothing was changed."""


class TableMissing(StoreError):
    """404: the table does not exist. Nothing was changed."""


class Rejected(StoreError):
    """400 or 413: the service will never accept this change. Nothing was changed."""


class AnswerLost(StoreError):
    """The service could not be reached, answered 5xx, or its answer was lost: the change may have happened or not."""


@value
class Row:
    """A stored row. Where it came from a scan, `etag` is empty, and `fields` are as the service writes them: 64-bit
    numbers may be text, and properties of its own may be among them.
    """

    key: str
    fields: Mapping[str, FieldValue]
    etag: str = ""


@value
class Merge:
    """Update the named fields of a row if its ETag is `etag`."""

    key: str
    fields: Fields
    etag: str


@value
class Insert:
    """Insert a row that must not exist."""

    key: str
    fields: Fields


@value
class Delete:
    """Delete a row that must exist."""

    key: str


RowChange: TypeAlias = Merge | Insert | Delete


class TableStore(Protocol):
    """One table account. Writes are never retried here: the committer must know what became of each."""

    async def create_table(self, table: str) -> None:
        """Create a table unless it exists."""
        ...

    async def get(self, table: str, partition: str, key: str) -> Row | None:
        """Point read. Raises `TableMissing` or `AnswerLost`."""
        ...

    async def submit(self, table: str, partition: str, changes: Sequence[RowChange], commit_id: str) -> str:
        """Apply all changes or none; returns the new ETag of the first row, unless that is deleted.

        Equal arguments give equal bytes.
        """
        ...

    def scan(self, table: str, partition: str, first: str, last: str) -> AsyncIterator[Row]:
        """The rows of one partition with `first <= key < last`, ascending; none where the table is missing."""
        ...
