"""Ties between price rows have an order, which rows of earlier versions keep."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import permutations

import pytest

from shared.domain.pricing.price import Price
from shared.domain.pricing.price_book import PriceBook, PriceKey, images_of
from shared.domain.pricing.usage import Meter
from tests.tools.ledgers import EARLY

PLAIN = Price(model="m", meter=Meter.IMAGES, usd_per_million="9", effective_from=EARLY, is_ordered=True)
BY_FIELD = {
    "variant": replace(PLAIN, variant="v", usd_per_million="1"),
    "sku": replace(PLAIN, sku="s", usd_per_million="2"),
    "region": replace(PLAIN, region="r", usd_per_million="3"),
    "model_version": replace(PLAIN, model_version="1", usd_per_million="4"),
}
"""From the field that decides first to the one that decides last."""


def applied(*rows: Price) -> str:
    """Return the price that applies among rows, whatever their order."""
    key = PriceKey(model="m", model_version="1", sku="s", region="r")
    at = EARLY + timedelta(days=9)
    cards = {PriceBook(order).rates(key, at, images_of("v")).hold(1, 1)[0] for order in permutations(rows)}
    (card,) = cards
    return str(next(row for row in rows if row.price_id == card.version).usd_per_million)


def test_a_tie_is_decided_by_the_order_of_the_named_fields() -> None:
    rows = [*BY_FIELD.values()]
    for first, stronger in enumerate(rows):
        for weaker in rows[first + 1 :]:
            assert applied(stronger, weaker, PLAIN) == stronger.usd_per_million


def test_a_later_date_comes_before_the_order_and_more_fields_before_both() -> None:
    later = replace(BY_FIELD["model_version"], effective_from=EARLY + timedelta(days=1))
    assert applied(BY_FIELD["variant"], later) == "4"
    both = replace(PLAIN, region="r", model_version="1", usd_per_million="5")
    assert applied(BY_FIELD["variant"], later, both) == "5"


@pytest.mark.parametrize("usd", ["1", "2", "3", "4", "5"])
def test_rows_of_earlier_versions_keep_their_precedence(usd: str) -> None:
    old = [
        replace(BY_FIELD["variant"], is_ordered=False),
        replace(BY_FIELD["sku"], usd_per_million=usd, is_ordered=False),
    ]
    winner = max(old, key=lambda row: row.price_id)
    assert applied(*old) == winner.usd_per_million
    assert applied(*old, replace(BY_FIELD["model_version"], usd_per_million="7")) == "7"


def test_rows_of_one_key_have_one_place_in_storage() -> None:
    same = replace(PLAIN, usd_per_million="1", source="x")
    assert same.key_id == PLAIN.key_id
    others = [*BY_FIELD.values(), replace(PLAIN, sku="*"), replace(PLAIN, effective_from=EARLY + timedelta(1))]
    assert len({row.key_id for row in (PLAIN, *others)}) == len(others) + 1
