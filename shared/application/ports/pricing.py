"""The port to the price book."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from shared.application.ports.books import Fault
from shared.domain.audit.events import AuditEvent
from shared.domain.pricing.damaged_price import DamagedPrice
from shared.domain.pricing.price import Price
from shared.domain.pricing.price_book import PriceBook
from shared.domain.values import value


@value
class StoredPrices:
    """The rows of the price book in no particular order, and those that are not as the gateway writes them."""

    readable: Sequence[Price]
    damaged: Sequence[DamagedPrice]

    @property
    def book(self) -> PriceBook:
        """A new book of the rows, which refuses what a damaged row may price."""
        return PriceBook(self.readable, self.damaged)


class PriceStore(Protocol):
    """The rows of the price book, which are only ever inserted. All methods raise `StorageUnavailable`."""

    async def load(self) -> StoredPrices:
        """Return all rows. One that cannot be read, or that stands under a key of another one, is damaged."""
        ...

    async def insert(self, price: Price, event: AuditEvent) -> tuple[Price, bool]:
        """Insert a row in its normal form, unless its key is taken. Returns the stored row, and whether it is new.

        A new row is stored together with its event: both, or neither. A row that is not new gets no event.
        Atomic: of two rows of one key, inserted at once by two processes, one is stored. Raises `PriceContradicted` if
        the stored row has another price, and `RowsDamaged` if a row of its model is damaged, which it may contradict.
        """
        ...

    async def restore(self, price: Price) -> None:
        """Insert a row of an archive as it is, because entries name its id. Idempotent. Makes the event itself.

        Raises `AlreadyExists` if the book has another row in its place, and `RowsDamaged` as `insert` does.
        """
        ...


class PriceRecords(Protocol):
    """The stored rows of the price book as they are, for verification. All methods raise `StorageUnavailable`."""

    async def load(self) -> StoredPrices:
        """Return all rows, as `PriceStore` does."""
        ...

    async def faults(self) -> Sequence[Fault]:
        """Return the rows that cannot be read, or do not stand under the hash of their content."""
        ...
