"""Prices as documents."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from shared.adapters.documents.codec import from_json, to_json
from shared.adapters.documents.store import Documents, key_of
from shared.domain.errors import AlreadyExists
from shared.domain.pricing.price_book import Price


class DocumentPrices:
    """Implements `PriceStore`. A price's key is a hash of its content, so that inserting it again changes nothing."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def load(self) -> Sequence[Price]:
        return [from_json(Price, document.text) for document in await self._documents.list("prices")]

    async def insert(self, price: Price) -> None:
        with suppress(AlreadyExists):
            await self._documents.insert("prices", key_of(price.model), price.price_id, to_json(price))
