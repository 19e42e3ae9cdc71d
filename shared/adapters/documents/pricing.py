"""Prices as documents."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from shared.adapters.documents.codec import from_json, to_json
from shared.adapters.documents.store import Document, Documents, key_of
from shared.application.ports.books import Fault, Place
from shared.domain.errors import AlreadyExists, PriceContradicted
from shared.domain.pricing.price import Price

_TABLE: Final = "prices"


class DocumentPrices:
    """Implements `PriceStore`.

    A document's key follows from the row's key, so that storage refuses a second row. Earlier versions derived it from
    the price as well; those documents stay as they are.
    """

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    async def load(self) -> Sequence[Price]:
        return [from_json(Price, document.text) for document in await self._documents.list(_TABLE)]

    async def insert(self, price: Price) -> tuple[Price, bool]:
        while True:
            stored = await self._of_key(price)
            if stored is not None:
                if not stored.has_price_of(price):
                    raise PriceContradicted(stored.price_id, stored.usd_per_million)
                return stored, False
            # Storage refuses the row if another process has inserted one meanwhile, or an answer was lost.
            with suppress(AlreadyExists):
                await self._documents.insert(_TABLE, key_of(price.model), price.key_id, to_json(price))
                return price, True

    async def restore(self, price: Price) -> None:
        if price.is_ordered:
            stored, _ = await self.insert(price)
            if stored.price_id != price.price_id:
                raise AlreadyExists(f"The price '{stored.price_id}' stands where '{price.price_id}' belongs.")
            return
        with suppress(AlreadyExists):
            await self._documents.insert(_TABLE, key_of(price.model), price.price_id, to_json(price))

    async def _of_key(self, price: Price) -> Price | None:
        """Return the stored row of the same key. Earlier versions could store several; the one that applies counts."""
        stored = await self._documents.list(_TABLE, partition=key_of(price.model))
        rows = [from_json(Price, document.text) for document in stored]
        return max((row for row in rows if row.key == price.key), key=lambda row: row.precedence, default=None)


class InspectedPrices(DocumentPrices):
    """Implements `PriceRecords`. Loads the prices that can be read, because verification goes on without the others."""

    async def load(self) -> Sequence[Price]:
        documents = await self._documents.list(_TABLE)
        return [price for document in documents if (price := _read(document)[0]) is not None]

    async def faults(self) -> Sequence[Fault]:
        found = [(document, _fault(document)) for document in await self._documents.list(_TABLE)]
        return [
            Fault(Place(table=_TABLE, partition=document.partition, row=document.key), message)
            for document, message in found
            if message
        ]


def _read(document: Document) -> tuple[Price | None, str]:
    """Return a price; `None` and the error if it cannot be read."""
    try:
        return from_json(Price, document.text), ""
    except ValueError as error:
        return None, str(error).partition("\n")[0]


def _fault(document: Document) -> str:
    """Tell what is wrong with the row of a price; empty if nothing is."""
    price, error = _read(document)
    if price is None:
        return f"the price cannot be read: {error}"
    key = price.key_id if price.is_ordered else price.price_id
    if (document.partition, document.key) != (key_of(price.model), key):
        return f"the content belongs to the row {key} of {price.model}"
    return ""
