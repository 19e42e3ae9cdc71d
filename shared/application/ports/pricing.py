"""The port to the price book."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from shared.domain.pricing.price_book import Price


class PriceStore(Protocol):
    """The rows of the price book, which are only ever inserted. All methods raise `StorageUnavailable`."""

    async def load(self) -> Sequence[Price]:
        """Return all rows, in no particular order."""
        ...

    async def insert(self, price: Price) -> None:
        """Insert a row. Idempotent: inserting the same row again changes nothing."""
        ...
