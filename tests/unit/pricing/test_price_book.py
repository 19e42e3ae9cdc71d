"""The price book finds the prices that apply, and computes costs and bounds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shared.domain.errors import UnpricedModel
from shared.domain.pricing.price import Price
from shared.domain.pricing.price_book import (
    IMAGES,
    INPUT_TOKENS,
    SOUND,
    SPEECH,
    TOKENS,
    Basis,
    PriceBook,
    PriceKey,
    images_of,
)
from shared.domain.pricing.rate_card import RateCard
from shared.domain.pricing.usage import Meter, Usage

EARLY = datetime(2020, 1, 1, tzinfo=UTC)
SKU = PriceKey(model="m", model_version="1", sku="Standard", region="eu1")


def card(book: PriceBook, sku: PriceKey, at: datetime, basis: Basis = TOKENS) -> RateCard:
    """Return the only rate card that applies."""
    found, _ = book.rates(sku, at, basis).hold(1, 1)
    return found


def test_the_most_specific_and_then_the_latest_price_applies() -> None:
    later = EARLY + timedelta(days=10)
    rows = [
        Price(model="m", meter=Meter.INPUT, usd_per_million="1", effective_from=EARLY),
        Price(model="m", meter=Meter.INPUT, usd_per_million="2", effective_from=EARLY, sku="Standard"),
        Price(model="m", meter=Meter.INPUT, usd_per_million="3", effective_from=later, sku="Standard"),
        Price(model="m", meter=Meter.INPUT, usd_per_million="9", effective_from=later + timedelta(days=1)),
        Price(model="m", meter=Meter.INPUT, usd_per_million="7", effective_from=EARLY, sku="Standard", region="us1"),
        Price(model="m", meter=Meter.OUTPUT, usd_per_million="4", effective_from=EARLY, model_version="1"),
        Price(model="m", meter=Meter.OUTPUT, usd_per_million="8", effective_from=EARLY, model_version="2"),
    ]
    book = PriceBook(rows)
    assert card(book, SKU, EARLY).pusd_per_unit[0] == 2_000_000
    assert card(book, SKU, later).pusd_per_unit[0] == 3_000_000
    assert card(book, SKU, later).cost(Usage(input=1, cached_input=1, output=1, audio_output=1)) == 14_000_000
    assert card(book, SKU, later).bound(2, 3) == 18_000_000
    assert card(book, SKU, EARLY) is card(book, SKU, EARLY + timedelta(days=1))


def test_a_model_or_version_without_a_price_is_refused() -> None:
    book = PriceBook([Price(model="m", meter=Meter.INPUT, usd_per_million="1", effective_from=EARLY)])
    with pytest.raises(UnpricedModel, match="No price is known for output of model"):
        card(book, SKU, EARLY)
    with pytest.raises(UnpricedModel, match="input and output"):
        card(book, SKU, EARLY - timedelta(days=1))
    with pytest.raises(UnpricedModel, match="not in the price book"):
        book.of_version("0123456789")


def test_a_price_id_depends_on_all_fields_but_the_source() -> None:
    row = Price(model="m", meter=Meter.INPUT, usd_per_million="1", effective_from=EARLY)
    assert (
        row.price_id
        == Price(model="m", meter=Meter.INPUT, usd_per_million="1", effective_from=EARLY, source="elsewhere").price_id
    )
    assert (
        len(
            {
                row.price_id,
                Price(model="m", meter=Meter.OUTPUT, usd_per_million="1", effective_from=EARLY).price_id,
                Price(model="m", meter=Meter.INPUT, usd_per_million="2", effective_from=EARLY).price_id,
            }
        )
        == 3
    )


def test_each_basis_has_a_name_of_its_own() -> None:
    bases = [TOKENS, INPUT_TOKENS, IMAGES, SPEECH, SOUND]
    assert len({basis.name for basis in bases}) == len({basis.alternatives for basis in bases}) == len(bases)


@pytest.mark.parametrize("stored", ["hd 1024x1792", "HD 1024X1792", " Hd  1024x1792"])
def test_a_stored_variant_applies_however_it_is_spelled(stored: str) -> None:
    row = Price(model="dall-e-3", meter=Meter.IMAGES, usd_per_million="120000", effective_from=EARLY, variant=stored)
    key = PriceKey(model="dall-e-3", model_version="", sku="Standard", region="swedencentral")
    found = card(PriceBook([row]), key, EARLY, images_of("hd 1024x1792"))
    assert found.version == row.price_id
    assert row.normalised().variant == "hd 1024x1792"


def test_images_are_priced_by_variant() -> None:
    book = PriceBook(
        [
            Price(model="dall-e-3", meter=Meter.IMAGES, usd_per_million="40000", effective_from=EARLY),
            Price(
                model="dall-e-3",
                meter=Meter.IMAGES,
                usd_per_million="120000",
                effective_from=EARLY,
                variant="hd 1024x1792",
            ),
        ]
    )
    sku = PriceKey(model="dall-e-3", model_version="1", sku="Standard", region="eu1")
    for variant, pusd in (("standard 1024x1024", 4 * 10**10), ("hd 1024x1792", 12 * 10**10)):
        found = card(book, sku, EARLY, images_of(variant))
        assert (found.cost(Usage(images=2)), found.charges_tokens) == (2 * pusd, False)
        assert found.bound(100, 100, Usage(images=2)) == 2 * pusd


def test_a_model_priced_by_image_is_not_charged_for_tokens() -> None:
    prices = [
        Price(model="m", meter=meter, usd_per_million="1", effective_from=EARLY)
        for meter in (Meter.INPUT, Meter.OUTPUT, Meter.IMAGES)
    ]
    sku = PriceKey(model="m", model_version="1", sku="Standard", region="eu1")
    found = card(PriceBook(prices), sku, EARLY, IMAGES)
    assert found.cost(Usage(input=5, output=5, images=1)) == 10**6
