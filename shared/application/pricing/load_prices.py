"""Load the price book of a process, and tell which of its rows are damaged."""

from __future__ import annotations

import logging

from shared.application.ports.pricing import PriceStore
from shared.application.structured_log import MESSAGE, log_event
from shared.domain.pricing.damaged_price import DamagedPrice
from shared.domain.pricing.price_book import PriceBook


class LoadPrices:
    """Makes price books. A damaged row is told in the log once for each time that it appears."""

    def __init__(self, store: PriceStore) -> None:
        self._store = store
        self._told: frozenset[DamagedPrice] = frozenset()

    async def __call__(self) -> PriceBook:
        """Return a new book of all rows. It refuses what a damaged row may price. Raises `StorageUnavailable`."""
        stored = await self._store.load()
        damaged = frozenset(stored.damaged)
        for row in sorted(damaged - self._told, key=str):
            log_event(logging.ERROR, "gateway.price.damaged", {MESSAGE: f"{row} {row.effect}"})
        self._told = damaged
        return stored.book
