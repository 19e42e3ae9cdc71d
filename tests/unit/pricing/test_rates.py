"""Service tiers and context bands: the prices that may apply, and the one that does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.errors import UnpricedModel
from shared.domain.pricing.price import Price
from shared.domain.pricing.price_book import TOKENS, PriceBook, PriceKey, tokens_of
from shared.domain.pricing.rates import PriceFlag, Rates
from shared.domain.pricing.service_tier import service_tier
from shared.domain.pricing.usage import Meter, Usage
from tests.tools.ledgers import EARLY

KEY = PriceKey(model="m", model_version="1", sku="Standard", region="eu1")


def row(meter: Meter, usd: object, **fields: Any) -> Price:
    price = Price(model="m", meter=meter, usd_per_million=str(usd), effective_from=EARLY, **fields)
    return price.normalised()


def rows(input_usd: object, output_usd: object, **fields: Any) -> Iterator[Price]:
    yield row(Meter.INPUT, input_usd, **fields)
    yield row(Meter.OUTPUT, output_usd, **fields)


def rates(*prices: Price, named: str = "", basis: Any = TOKENS) -> Rates:
    return PriceBook(prices).rates(KEY, EARLY, basis, named)


BANDS = [*rows(1, 2, input_tokens_up_to=10), *rows(3, 4, input_tokens_above=10)]


@pytest.mark.parametrize(("tokens", "usd"), [(0, 1), (9, 1), (10, 1), (11, 3), (10**9, 3)])
def test_the_number_of_input_tokens_decides_the_price_of_all_of_them(tokens: int, usd: int) -> None:
    applied = rates(*BANDS).applied("", Usage(input=tokens))
    assert (applied.rate_card.cost(Usage(input=tokens)), applied.flags_text) == (tokens * usd * 10**6, "")
    unbanded = [*rows(1, 2), *rows(3, 4, input_tokens_above=10)]
    assert rates(*unbanded).applied("", Usage(input=tokens)).rate_card.pusd_per_unit[0] == usd * 10**6


def test_cached_input_makes_a_request_long() -> None:
    assert rates(*BANDS).applied("", Usage(input=1, cached_input=10)).rate_card.pusd_per_unit[0] == 3 * 10**6


def test_bands_of_one_meter_leave_the_other_meters_as_they_are() -> None:
    prices = rates(*rows(1, 2), row(Meter.OUTPUT, 5, input_tokens_above=10))
    card, _ = prices.hold(11, 1)
    assert (card.pusd_per_unit[0], card.dearest_output, card.label) == (10**6, 5 * 10**6, "above 10")


def test_neighbouring_bands_with_one_price_are_one() -> None:
    prices = rates(*rows(1, 2), row(Meter.CACHED_INPUT, 1, input_tokens_above=5, input_tokens_up_to=9, region="us1"))
    assert prices.only is not None
    twice = rates(*rows(1, 2), row(Meter.AUDIO_SECONDS, 1, input_tokens_above=5))
    assert twice.only is not None


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))
def test_a_hold_is_never_below_what_any_allowed_tier_and_band_can_cost(bound: int, used: int, output: int) -> None:
    prices = [*BANDS, *rows(2, 9, service_tier="priority"), *rows(1, 1, service_tier="flex")]
    tiers = {"": ("default", "priority", "flex"), "default": ("default",), "flex": ("flex", "default"),
             "priority": ("priority", "default")}  # fmt: skip
    for named, served in tiers.items():
        found = rates(*prices, named=named)
        card, pusd = found.hold(bound, output)
        assert pusd == card.bound(bound, output)
        usage = Usage(input=min(used, bound), output=output)
        assert all(found.applied(tier, usage).rate_card.cost(usage) <= pusd for tier in (*served, ""))


def test_audio_without_its_own_price_is_flagged_and_costs_what_text_does() -> None:
    without, with_input = rates(*rows(1, 2)), rates(*rows(1, 2), row(Meter.AUDIO_INPUT, 40))
    for prices, usage, flags in (
        (without, Usage(input=1, audio_input=1), "unpriced_meter"),
        (without, Usage(audio_output=1), "unpriced_meter"),
        (with_input, Usage(audio_input=1), ""),
        (with_input, Usage(audio_output=1), "unpriced_meter"),
        (without, Usage(input=1, output=1), ""),
    ):
        assert prices.applied("default", usage).flags_text == flags
    both = without.applied("turbo", Usage(audio_input=1)).flags_text
    assert both == f"{PriceFlag.UNPRICED_METER},{PriceFlag.UNPRICED_TIER}"


@pytest.mark.parametrize(("has_audio", "asks"), [*product((True, False), repeat=2)])
def test_audio_that_is_carried_or_asked_for_needs_its_price(has_audio: bool, asks: bool) -> None:
    basis = tokens_of(has_audio=has_audio, asks_for_audio=asks)
    needed = [*[Meter.AUDIO_INPUT] * has_audio, *[Meter.AUDIO_OUTPUT] * asks]
    assert "default" in rates(*rows(1, 2), *(row(meter, 9) for meter in needed), basis=basis).bands
    for missing in needed:
        with pytest.raises(UnpricedModel, match=f"No price is known for {missing} of model 'm'"):
            rates(*rows(1, 2), *(row(meter, 9) for meter in needed if meter is not missing), basis=basis)


def test_a_tier_that_lacks_a_needed_meter_is_no_choice() -> None:
    basis = tokens_of(has_audio=True, asks_for_audio=False)
    prices = rates(*rows(1, 2), row(Meter.AUDIO_INPUT, 9), *rows(50, 50, service_tier="priority"), basis=basis)
    assert [*prices.bands] == ["default"]
    assert prices.applied("priority", Usage(input=1)).flags_text == "unpriced_tier"


def test_a_price_beyond_all_bands_is_the_dearest_of_any_band() -> None:
    prices = rates(*rows(1, 2, input_tokens_up_to=10), *rows(7, 9, service_tier="flex", input_tokens_up_to=5))
    applied = prices.applied("", Usage(input=11))
    assert (applied.rate_card.service_tier, applied.flags_text) == ("flex", "unpriced_band")
    assert prices.hold(6, 0)[0].service_tier == "flex"
    with pytest.raises(UnpricedModel, match="more than 10 input tokens"):
        prices.hold(11, 0)


def test_a_model_with_prices_of_another_tier_only_is_refused() -> None:
    with pytest.raises(UnpricedModel, match="input and output of model"):
        rates(*rows(1, 2, service_tier="flex"))


def test_the_price_of_a_reservation_stays_that_of_its_tier_and_band() -> None:
    old = PriceBook([*rows(1, 2), *rows(5, 6, service_tier="flex")])
    later = PriceBook([*rows(1, 2), *rows(3, 4, region="eu1"), *rows(5, 6, service_tier="flex")])
    held, _ = old.rates(KEY, EARLY).hold(1, 1)
    assert held.service_tier == "flex"
    standard = old.rates(KEY, EARLY, TOKENS, "default").hold(1, 1)[0]
    found = later.rates(KEY, EARLY)
    assert found.applied("", Usage()).rate_card.pusd_per_unit[0] == 3 * 10**6
    assert found.with_card(standard).applied("", Usage()).rate_card is standard
    assert found.with_card(held).applied("flex", Usage()).rate_card.version == held.version


@pytest.mark.parametrize(
    ("text", "tier"),
    [("", ""), (" auto ", ""), ("Default", "default"), ("STANDARD", "default"), ("Priority", "priority")],
)
def test_a_tier_has_one_name(text: str, tier: str) -> None:
    assert service_tier(text) == tier


@pytest.mark.parametrize(
    ("first", "second", "is_allowed"),
    [
        ((0, 10), (10, None), True),
        ((0, 10), (10, 20), True),
        ((0, 10), (9, None), False),
        ((5, 10), (0, None), True),
        ((5, 10), (0, 6), False),
        ((5, None), (7, 9), False),
        ((0, 10), (0, 11), False),
    ],
)
def test_bands_of_one_key_do_not_overlap(
    first: tuple[int, int | None], second: tuple[int, int | None], is_allowed: bool
) -> None:
    one, other = (
        row(Meter.INPUT, 1, input_tokens_above=above, input_tokens_up_to=up_to) for above, up_to in (first, second)
    )
    assert (one.contradicts(other), other.contradicts(one)) == (not is_allowed, not is_allowed)
    assert not one.contradicts(replace(one, source="x"))


def test_tier_and_band_are_part_of_the_id() -> None:
    plain = row(Meter.INPUT, 1)
    others = [{"service_tier": "flex"}, {"input_tokens_above": 5}, {"input_tokens_up_to": 5},
              {"input_tokens_above": 4, "input_tokens_up_to": 5}, {"variant": "flex"}]  # fmt: skip
    ids = {plain.price_id, *(replace(plain, **fields).price_id for fields in others)}  # type: ignore[arg-type]
    assert len(ids) == len(others) + 1
    assert row(Meter.INPUT, 1, service_tier="Standard") == plain
