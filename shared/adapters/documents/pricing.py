"""Prices as documents."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from itertools import combinations
from typing import Final

from shared.adapters.documents.audit import AuditedDocuments
from shared.adapters.documents.codec import from_json, to_json
from shared.adapters.documents.store import Document, Documents, key_of
from shared.application.ports.books import Fault, Place
from shared.domain.audit.events import AuditEvent
from shared.domain.errors import AlreadyExists, PriceContradicted, VersionConflict
from shared.domain.identifiers import new_rid
from shared.domain.pricing.price import Price
from shared.domain.values import field_names, record

_TABLE: Final = "prices"


@record
class _PricesOfKey(Price):
    """A stored document: a row, and the rows of the same key for other context bands."""

    other_bands: tuple[Price, ...] = ()

    @property
    def rows(self) -> tuple[Price, ...]:
        """All rows of the document."""
        own = {name: getattr(self, name) for name in _FIELDS}
        return Price(**own), *self.other_bands


_FIELDS: Final = field_names(Price)


class DocumentPrices:
    """Implements `PriceStore`.

    A document's key follows from the rows' key, so that storage refuses rows that contradict each other. Earlier
    versions derived it from the price as well, and stored a document for each row; those stay as they are.
    """

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._audited = AuditedDocuments(documents)

    async def load(self) -> Sequence[Price]:
        return [row for document in await self._documents.list(_TABLE) for row in _rows_of(document)]

    async def insert(self, price: Price, event: AuditEvent) -> tuple[Price, bool]:
        partition, key = key_of(price.model), price.key_id
        while True:
            documents = await self._documents.list(_TABLE, partition=partition)
            stored = _equal_to(price, [row for document in documents for row in _rows_of(document)])
            if stored is not None:
                return stored, False
            place = next((document for document in documents if document.key == key), None)
            # Storage refuses the change if another process has inserted a row meanwhile, or an answer was lost.
            with suppress(AlreadyExists, VersionConflict):
                if place is None:
                    await self._audited.insert(_TABLE, partition, key, to_json(price), event)
                else:
                    await self._audited.replace(_TABLE, place, to_json(_with_band(place, price)), event)
                return price, True

    async def restore(self, price: Price) -> None:
        event = _restoration(price)
        if price.is_ordered:
            stored, _ = await self.insert(price, event)
            if stored.price_id != price.price_id:
                raise AlreadyExists(f"The price '{stored.price_id}' stands where '{price.price_id}' belongs.")
            return
        with suppress(AlreadyExists):
            await self._audited.insert(_TABLE, key_of(price.model), price.price_id, to_json(price), event)


class InspectedPrices(DocumentPrices):
    """Implements `PriceRecords`. Loads the prices that can be read, because verification goes on without the others."""

    async def load(self) -> Sequence[Price]:
        documents = await self._documents.list(_TABLE)
        return [price for document in documents for price in _read(document)[0]]

    async def faults(self) -> Sequence[Fault]:
        found = [(document, _fault(document)) for document in await self._documents.list(_TABLE)]
        return [
            Fault(Place(table=_TABLE, partition=document.partition, row=document.key), message)
            for document, message in found
            if message
        ]


def _read(document: Document) -> tuple[tuple[Price, ...], str]:
    """Return the prices of a document; none and the error if it cannot be read."""
    try:
        return tuple(row.checked() for row in _rows_of(document)), ""
    except ValueError as error:
        return (), str(error).partition("\n")[0]


def _fault(document: Document) -> str:
    """Tell what is wrong with the row of a price; empty if nothing is."""
    prices, error = _read(document)
    if error:
        return f"the price cannot be read: {error}"
    for price in prices:
        key = price.key_id if price.is_ordered else price.price_id
        if (document.partition, document.key) != (key_of(price.model), key):
            return f"the content belongs to the row {key} of {price.model}"
    for one, other in combinations(prices, 2):
        if one.contradicts(other):
            return f"the prices {one.price_id} and {other.price_id} contradict each other"
    return ""


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


def _rows_of(document: Document) -> tuple[Price, ...]:
    return from_json(_PricesOfKey, document.text).rows


def _with_band(place: Document, price: Price) -> _PricesOfKey:
    """Return the rows of a document with one more."""
    stored = from_json(_PricesOfKey, place.text)
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
