"""Money is exact: pUSD, dollars and cents."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.pricing.money import (
    MAX_PERIOD_PUSD,
    allocate_cents,
    cents,
    parse_cents,
    parse_usd,
    pusd_from_usd,
    pusd_per_token,
    usd,
    usd_of_cents,
)


@pytest.mark.parametrize(
    ("pusd", "text"),
    [(0, "0.00"), (2_500_000, "0.0000025"), (10**12, "1.00"), (-15 * 10**11, "-1.50"), (1, "0.000000000001")],
)
def test_usd_is_exact(pusd: int, text: str) -> None:
    assert usd(pusd) == text


@given(st.integers(0, MAX_PERIOD_PUSD))
def test_usd_reads_back(pusd: int) -> None:
    assert pusd_from_usd(usd(pusd)) == pusd


@given(st.integers(-(10**30), 10**30))
def test_written_amounts_of_any_sign_and_size_read_back(amount: int) -> None:
    assert parse_usd(usd(amount)) == amount
    assert parse_cents(usd_of_cents(amount)) == amount


@pytest.mark.parametrize(
    "text", ["", "1", "1.0", "+1.00", "1e3", "NaN", " 1.00", "1.00\n", "\u0661.\u0660\u0660", "0.0000000000001"]
)
def test_text_that_is_no_written_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an amount in USD"):
        parse_usd(text)


def test_a_fraction_of_a_cent_is_no_amount_in_cents() -> None:
    with pytest.raises(ValueError, match="not a whole number of cents"):
        parse_cents("1.001")


@pytest.mark.parametrize("text", ["", "x", "-1", "NaN", "Infinity", "9000000.01", "1e-13", "1e30"])
def test_text_that_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must lie|not a decimal|more than 12"):
        pusd_from_usd(text)


def test_a_price_is_exact_to_six_decimals() -> None:
    assert (pusd_per_token("2.50"), pusd_per_token("0.000001")) == (2_500_000, 1)
    with pytest.raises(ValueError, match="more than 6 decimals"):
        pusd_per_token("0.0000001")


@pytest.mark.parametrize(
    ("pusd", "rounded"), [(5 * 10**9, 0), (15 * 10**9, 2), (25 * 10**9, 2), (25 * 10**9 + 1, 3), (-15 * 10**9, -2)]
)
def test_cents_are_rounded_half_even(pusd: int, rounded: int) -> None:
    assert cents(pusd) == rounded


def test_cents_are_written_with_two_decimals() -> None:
    assert [usd_of_cents(amount) for amount in (0, 5, 123, -1)] == ["0.00", "0.05", "1.23", "-0.01"]


@given(st.dictionaries(st.tuples(st.text(max_size=3)), st.integers(-(10**12), 10**13), max_size=40))
def test_lines_always_add_up_to_the_rounded_total(lines: dict[tuple[str, ...], int]) -> None:
    allocated = allocate_cents(lines)
    assert sum(allocated.values()) == cents(sum(lines.values()))
    assert all(abs(allocated[key] * 10**10 - exact) <= 10**10 for key, exact in lines.items())


def test_equal_remainders_are_rounded_in_the_order_of_keys() -> None:
    assert allocate_cents({("b",): 5 * 10**9, ("a",): 5 * 10**9}) == {("a",): 1, ("b",): 0}
