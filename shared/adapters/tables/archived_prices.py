"""Rows of the price book, as archives have them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from pydantic import TypeAdapter

from shared.domain.pricing.price import Price
from shared.domain.values import field_names

_adapter: Final = TypeAdapter(list[Price])
_NAMES: Final = {*field_names(Price)}


def archived_prices(book: Sequence[Price]) -> list[dict[str, Any]]:
    """Return the rows of the price book as an archive has them."""
    rows = sorted(book, key=lambda price: (price.model, price.price_id))
    prices: list[dict[str, Any]] = _adapter.dump_python(rows, mode="json")
    return prices


def prices_from(archived: Sequence[dict[str, Any]]) -> list[Price]:
    """Read rows. Raises `ValueError`."""
    if any(row.keys() - _NAMES for row in archived):
        raise ValueError("a price has a property that none of ours has")
    return [price.checked() for price in _adapter.validate_json(msgspec.json.encode(archived), strict=True)]
