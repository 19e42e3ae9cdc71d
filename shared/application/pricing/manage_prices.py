"""Manage the insert-only price book."""

from __future__ import annotations

from shared.application.audit.record_audit import Actor, RecordAudit
from shared.application.cached_value import Cached
from shared.application.ports.pricing import PriceStore
from shared.domain.pricing.price_book import Price, PriceBook


class ManagePrices:
    """The use cases of `/manage/prices`. Rows are only ever inserted. All methods raise `StorageUnavailable`."""

    def __init__(self, store: PriceStore, prices: Cached[PriceBook], audit: RecordAudit) -> None:
        self._store = store
        self._prices = prices
        self._audit = audit

    async def insert(self, price: Price, actor: Actor) -> Price:
        """Insert a row, and return it. Idempotent: the same row again changes nothing.

        To change a price, insert a row with a later `effective_from`. The row takes effect in this process at once, in
        others within 25 s.
        """
        await self._store.insert(price)
        self._prices.invalidate()
        await self._audit(actor, "price.insert", f"{price.model}/{price.price_id}", after=price)
        return price

    async def list(self) -> list[Price]:
        """Return all rows, ordered by model, meter and date."""
        rows = await self._store.load()
        return sorted(rows, key=lambda price: (price.model, price.meter, price.effective_from, price.price_id))
