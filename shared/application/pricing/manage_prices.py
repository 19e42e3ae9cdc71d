"""Manage the insert-only price book."""

from __future__ import annotations

from shared.application.audit.record_audit import Actor
from shared.application.cached_value import Cached
from shared.application.ports.clock import Clock
from shared.application.ports.pricing import PriceStore, StoredPrices
from shared.domain.pricing.price import Price
from shared.domain.pricing.price_book import PriceBook


class ManagePrices:
    """The use cases of `/manage/prices`. Rows are only ever inserted. All methods raise `StorageUnavailable`."""

    def __init__(self, store: PriceStore, prices: Cached[PriceBook], clock: Clock) -> None:
        self._store = store
        self._prices = prices
        self._clock = clock

    async def insert(self, price: Price, actor: Actor) -> tuple[Price, bool]:
        """Insert a row in its normal form. Returns the stored row, and whether it is new. Idempotent.

        To change a price, insert a row with a later `effective_from`. The row takes effect in this process at once, in
        others within 25 s. Raises `PriceContradicted` if a stored row has another price for the same key and time, and
        `RowsDamaged` if a row of the model is damaged.
        """
        row = price.normalised()
        event = actor.event(self._clock.now(), "price.insert", f"{row.model}/{row.price_id}", after=row)
        stored, is_new = await self._store.insert(row, event)
        self._prices.invalidate()
        return stored, is_new

    async def list(self) -> StoredPrices:
        """Return all rows, ordered by model, meter and date, and those that are damaged."""
        stored = await self._store.load()
        rows = sorted(
            stored.readable, key=lambda price: (price.model, price.meter, price.effective_from, price.price_id)
        )
        return StoredPrices(rows, sorted(stored.damaged, key=str))
