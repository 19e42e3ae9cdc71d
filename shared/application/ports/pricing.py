"""The port to the price book."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from shared.application.ports.books import Fault
from shared.domain.audit.events import AuditEvent
from shared.domain.pricing.price import Price


class PriceStore(Protocol):
    """The rows of the price book, which are only ever inserted. All methods raise `StorageUnavailable`."""

    async def load(self) -> Sequence[Price]:
        """Return all rows, in no particular order."""
        ...

    async def insert(self, price: Price, event: AuditEvent) -> tuple[Price, bool]:
        """Insert a row in its normal form, unless its key is taken. Returns the stored row, and whether it is new.

        A new row is stored together with its event: both, or neither. A row that is not new gets no event.
        Atomic: of two rows of one key, inserted at once by two processes, one is stored. Raises `PriceContradicted` if
        the stored row has another price.
        """
        ...

    async def restore(self, price: Price) -> None:
        """Insert a row of an archive as it is, because entries name its id. Idempotent. Makes the event itself.

        Raises `AlreadyExists` if the book has another row in its place.
        """
        ...


class PriceRecords(Protocol):
    """The stored rows of the price book as they are, for verification. All methods raise `StorageUnavailable`."""

    async def load(self) -> Sequence[Price]:
        """Return the rows that can be read, in no particular order."""
        ...

    async def faults(self) -> Sequence[Fault]:
        """Return the rows that cannot be read, or do not stand under the hash of their content."""
        ...
