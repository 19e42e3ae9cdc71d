"""Stored price documents, read and checked: a row that the gateway did not write as it stands prices nothing."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields
from datetime import datetime
from itertools import combinations
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from shared.adapters.documents.codec import from_json
from shared.adapters.documents.store import Document, key_of, name_of
from shared.domain.pricing.damaged_price import DamagedPrice
from shared.domain.pricing.price import Price
from shared.domain.pricing.usage import Meter
from shared.domain.values import field_names, record, value

PRICES_TABLE: Final = "prices"
_MAX_MESSAGE: Final = 300
"""Longer messages are cut: they name what stands in damaged rows, and callers get them."""


@record
class PricesOfKey(Price):
    """A stored document: a row, and the rows of the same key for other context bands."""

    other_bands: tuple[Price, ...] = ()

    @property
    def rows(self) -> tuple[Price, ...]:
        """All rows of the document."""
        own = {name: getattr(self, name) for name in _FIELDS}
        return Price(**own), *self.other_bands


_FIELDS: Final = field_names(Price)


@record
class _Key:
    """The fields of a row that decide under which key it stands."""

    model: str
    meter: Meter
    effective_from: datetime
    model_version: str | None = None
    sku: str | None = None
    region: str | None = None
    variant: str | None = None
    service_tier: str | None = None

    def is_of(self, document: Document) -> bool:
        """Tell whether a row with these fields stands where the document stands."""
        stated = {each.name: getattr(self, each.name) for each in fields(self)}
        row = Price(**stated, usd_per_million="0", is_ordered=True)
        try:
            key = row.checked().key_id
        except ValueError:
            return False
        return (key_of(row.model), key) == (document.partition, document.key)


_key_fields: Final = TypeAdapter(_Key)


@value
class ReadPrices:
    """The rows of a document, or what is wrong with it."""

    rows: tuple[Price, ...]
    fault: str = ""


def read_prices(document: Document) -> ReadPrices:
    """Read the rows of a document. If one of them is damaged, none counts: which of them is right, nobody knows."""
    try:
        rows = from_json(PricesOfKey, document.text).rows
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        at = ".".join(map(str, first["loc"])) or "the document"
        rows, fault = (), f"the price cannot be read: {at}: {first['msg']}"
    else:
        fault = _fault_of(rows, document)
    return ReadPrices(() if fault else rows, fault[:_MAX_MESSAGE])


def _fault_of(rows: Sequence[Price], document: Document) -> str:
    """Tell what is wrong with rows that can be read; empty if nothing is."""
    for row in rows:
        try:
            row.checked()
        except ValueError as error:
            return f"the price cannot be used: {error}"
        key = row.key_id if row.is_ordered else row.price_id
        if (document.partition, document.key) != (key_of(row.model), key):
            return f"the content belongs to the row {key} of {row.model}"
    for one, other in combinations(rows, 2):
        if one.contradicts(other):
            return f"the prices {one.price_id} and {other.price_id} contradict each other"
    return ""


def damaged_price(document: Document, fault: str) -> DamagedPrice:
    """Describe a damaged document, with all prices that it may stand for.

    - The row's key is a hash of model, meter and other fields. If the content still has it, only its meter is meant.
    - Else every meter of the models is, which the partition and the content name.
    - If neither names one, every model is: the gateway writes no such row, and nobody knows whose price it was.
    """
    parts, row = _parts_of(document.text), f"{PRICES_TABLE}/{document.partition}/{document.key}"
    keys = [key for part in parts if (key := _key_of_part(part)) is not None and key.is_of(document)]
    if keys and len(keys) == len(parts):
        return DamagedPrice(row=row, message=fault, models=frozenset({keys[0].model}), meter=keys[0].meter)
    models = {part["model"] for part in parts if isinstance(part.get("model"), str)}
    name = name_of(document.partition)
    if key_of(name) == document.partition:
        models.add(name)
    return DamagedPrice(row=row, message=fault, models=frozenset(filter(None, models)))


def _parts_of(text: str) -> list[dict[str, Any]]:
    """Return what a document has of rows, as JSON; empty dictionaries for parts that are no rows."""
    document: Any = {}
    with suppress(ValidationError):
        document = from_json(dict[str, Any], text)
    bands = document.get("other_bands", [])
    parts = [document, *(bands if isinstance(bands, list) else [None])]
    return [part if isinstance(part, dict) else {} for part in parts]


def _key_of_part(part: dict[str, Any]) -> _Key | None:
    with suppress(ValidationError):
        return _key_fields.validate_python(part)
    return None
