"""The port to the price book."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from shared.domain.pricing.price_book import Price


class PriceStore(Protocol):
    """The insert-only price book. Raises `StorageUnavailable`."""

    async def load(self) -> Sequence[Price]:
        """Every row."""
        ...

    async def insert(self, price: Price) -> None:
        """Add a row; inserting the identical row again changes nothing."""
        ...
