"""Prices as documents."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from shared.adapters.documents.audit import AuditedDocuments
from shared.adapters.documents.codec import from_json, to_json
from shared.adapters.documents.price_rows import (
    PRICES_TABLE,
    PricesOfKey,
    ReadPrices,
    damaged_price,
    read_prices,
)
from shared.adapters.documents.store import Document, Documents, key_of
from shared.application.ports.books import Fault, Place
from shared.application.ports.pricing import StoredPrices
from shared.domain.audit.events import AuditEvent
from shared.domain.errors import AlreadyExists, PriceContradicted, RowsDamaged, VersionConflict
from shared.domain.identifiers import new_rid
from shared.domain.pricing.price import Price


class DocumentPrices:
    """Implements `PriceStore`.

    A document's key follows from the rows' key, so that storage refuses rows that contradict each other. Earlier
    versions derived it from the price as well, and stored a document for each row; those stay as they are.
    """

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._audited = AuditedDocuments(documents)
        self._read: dict[Document, ReadPrices] = {}
        """The documents of the last load."""

    async def load(self) -> StoredPrices:
        documents = await self._documents.list(PRICES_TABLE)
        # Rows never change, so that nearly all documents are those of the last load.
        found = self._read = {each: self._read.get(each) or read_prices(each) for each in documents}
        rows = [row for read in found.values() for row in read.rows]
        return StoredPrices(rows, [damaged_price(each, read.fault) for each, read in found.items() if read.fault])

    async def insert(self, price: Price, event: AuditEvent) -> tuple[Price, bool]:
        partition, key = key_of(price.model), price.key_id
        while True:
            documents = await self._documents.list(PRICES_TABLE, partition=partition)
            stored = _equal_to(price, [row for document in documents for row in _sound_rows(document)])
            if stored is not None:
                return stored, False
            place = next((document for document in documents if document.key == key), None)
            # Storage refuses the change if another process has inserted a row meanwhile, or an answer was lost.
            with suppress(AlreadyExists, VersionConflict):
                if place is None:
                    await self._audited.insert(PRICES_TABLE, partition, key, to_json(price), event)
                else:
                    await self._audited.replace(PRICES_TABLE, place, to_json(_with_band(place, price)), event)
                return price, True

    async def restore(self, price: Price) -> None:
        event = _restoration(price)
        if price.is_ordered:
            stored, _ = await self.insert(price, event)
            if stored.price_id != price.price_id:
                raise AlreadyExists(f"The price '{stored.price_id}' stands where '{price.price_id}' belongs.")
            return
        try:
            await self._audited.insert(PRICES_TABLE, key_of(price.model), price.price_id, to_json(price), event)
        except AlreadyExists:
            for document in await self._documents.list(PRICES_TABLE, partition=key_of(price.model)):
                _sound_rows(document)


class InspectedPrices(DocumentPrices):
    """Implements `PriceRecords`."""

    async def faults(self) -> Sequence[Fault]:
        found = [(document, read_prices(document).fault) for document in await self._documents.list(PRICES_TABLE)]
        return [
            Fault(Place(table=PRICES_TABLE, partition=document.partition, row=document.key), message)
            for document, message in found
            if message
        ]


def _sound_rows(document: Document) -> Sequence[Price]:
    """Return the rows of a document. Raises `RowsDamaged`, which names it."""
    read = read_prices(document)
    if read.fault:
        raise RowsDamaged(f"Repair or delete the row {damaged_price(document, read.fault)} first.")
    return read.rows


def _restoration(price: Price) -> AuditEvent:
    """Return the event of a price that comes from an archive, by the command line."""
    return AuditEvent(
        event_id=new_rid(),
        at=datetime.now(UTC),
        actor="tallygate restore",
        action="price.restore",
        target=f"{price.model}/{price.price_id}",
        after=price,
    )


def _with_band(place: Document, price: Price) -> PricesOfKey:
    """Return the rows of a document with one more."""
    stored = from_json(PricesOfKey, place.text)
    return replace(stored, other_bands=(*stored.other_bands, price))


def _equal_to(price: Price, stored: Sequence[Price]) -> Price | None:
    """Return the stored row that equals `price`. Raises `PriceContradicted` if a stored row contradicts it."""
    same_key = [row for row in stored if row.key == price.key]
    same_band = [row for row in same_key if row.band == price.band]
    # Earlier versions could store several rows of one key. The one that applies counts.
    equal = max(same_band, key=lambda row: row.precedence, default=None)
    for row in same_key if equal is None else [equal]:
        if row.contradicts(price):
            raise PriceContradicted(row.price_id, row.usd_per_million)
    return equal
