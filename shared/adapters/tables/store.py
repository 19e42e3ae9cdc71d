"""The table service that the ledger needs: point reads, range scans and entity group transactions.

https://learn.microsoft.com/rest/api/storageservices/performing-entity-group-transactions
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol, TypeAlias

from shared.domain.stored_fields import Fields, FieldValue
from shared.domain.values import value

MAX_BATCH_ROWS = 100
"""The most rows that the service accepts in one entity group transaction."""


class StoreError(Exception):
    """Root of the errors of a table service."""


class PreconditionFailed(StoreError):
    """412: the row has another ETag, because somebody has changed it. Nothing was changed."""


class RowExists(StoreError):
    """409: a row to insert exists already. Nothing was changed."""


class RowMissing(StoreError):
    """404: a row to delete or merge does not exist. Nothing was changed."""


class TableMissing(StoreError):
    """404: the table does not exist. Nothing was changed."""


class Rejected(StoreError):
    """400 or 413: the service will never accept this change. Nothing was changed."""


class AnswerLost(StoreError):
    """The service was not reached, or its answer was lost or inconclusive. The change may have been made or not."""


@value
class Row:
    """A stored row."""

    key: str
    fields: Mapping[str, FieldValue]
    """From `get` as they were written. From `scan` as the service sends them.

    The service may send 64-bit integers as text and add properties of its own.
    """
    etag: str = ""
    """Empty if the row came from `scan`."""


@value
class InspectedRow:
    """A stored row as it is: every property, with the value and type that the service states."""

    key: str
    fields: Mapping[str, FieldValue]
    """64-bit integers are numbers. Other types come as JSON has them, so any value may be of an undeclared type."""
    mistyped: Sequence[str] = ()
    """Names of the properties whose type in the service differs from the one in which the gateway stores the value."""


@value
class Merge:
    """Set the named fields of a row that exists and whose ETag is `etag`. Its other fields stay."""

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
    """One table account. No method retries a write, because the committer must learn the result of each."""

    async def create_table(self, table: str) -> None:
        """Create a table unless it exists. Idempotent. Raises `AnswerLost`."""
        ...

    async def get(self, table: str, partition: str, key: str) -> Row | None:
        """Read one row; `None` if it does not exist. Raises `TableMissing` or `AnswerLost`."""
        ...

    async def submit(self, table: str, partition: str, changes: Sequence[RowChange], commit_id: str) -> str:
        """Apply all changes or none, in one entity group transaction of at most `MAX_BATCH_ROWS` rows.

        Returns the new ETag of the first row; empty if that row was deleted. Not idempotent, but equal arguments send
        equal bytes. Raises any `StoreError`; only after `AnswerLost` the changes may have been made.
        """
        ...

    def scan(self, table: str, partition: str, first: str, last: str) -> AsyncIterator[Row]:
        """Read the rows of one partition with `first <= key < last`, ascending; none if the table is missing.

        Not a snapshot: rows that change meanwhile are read before or after the change. Raises `AnswerLost`.
        """
        ...

    def partitions(self, table: str, first: str = "", end: str = "") -> AsyncIterator[str]:
        """List the partitions of a table with `first <= partition < end`, ascending; none if the table is missing.

        Costs one request for each partition. Raises `AnswerLost`.
        """
        ...


class InspectableStore(TableStore, Protocol):
    """A table account whose rows can also be read as they are, for verification and backups."""

    def inspect(self, table: str, partition: str, first: str, end: str = "") -> AsyncIterator[InspectedRow]:
        """Read the rows of one partition with `first <= key < end` as they are, ascending; to the last without `end`.

        Not a snapshot, and none if the table is missing. Raises `AnswerLost`.
        """
        ...
