"""Price rows for the models of the template, from `infra/prices.json`, which the operator may change before."""

from __future__ import annotations

import json
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

PRICES: Final = Path(__file__).resolve().parents[1] / "prices.json"


def price_rows(model: str, skus: Iterable[str], prices: Path = PRICES) -> list[dict[str, str]]:
    """Return the rows of a model: one for every SKU, and others for those that cost more. Empty if it has no price."""
    book: dict[str, Any] = json.loads(prices.read_text())
    common = {"model": model, "effective_from": book["effective_from"], "source": book["source"]}
    rows = []
    for meter, usd in book["usd_per_million"].get(model, {}).items():
        rows.append({**common, "meter": meter, "usd_per_million": usd})
        for sku in sorted(set(skus) & book["factor_of_sku"].keys()):
            dearer = Decimal(usd) * Decimal(book["factor_of_sku"][sku])
            rows.append({**common, "meter": meter, "usd_per_million": str(dearer), "sku": sku})
    return rows


def source_of_rows(prices: Path = PRICES) -> str:
    return str(json.loads(prices.read_text())["source"])
