"""Exact money: integers of pUSD (10^-12 USD) inside, decimal strings outside. Never a float."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation, localcontext
from typing import TypeVar

LineT = TypeVar("LineT", bound=tuple[str, ...])

PUSD_PER_USD = 10**12
PUSD_PER_CENT = 10**10
MAX_PERIOD_USD = 9_000_000
MAX_PERIOD_PUSD = MAX_PERIOD_USD * PUSD_PER_USD
_WRITTEN = re.compile(r"(-?)([0-9]{1,30})\.([0-9]{2,12})")


def pusd_from_usd(text: str) -> int:
    """Parse an amount in USD and return it in pUSD.

    Raises `ValueError` unless `text` is a decimal from 0 to 9,000,000 with at most 12 decimals.
    """
    return _scaled(text, 12)


def pusd_per_token(usd_per_million: str) -> int:
    """Parse a price in USD per million tokens and return it in pUSD per token.

    Raises `ValueError` unless the price is a decimal from 0 to 9,000,000 with at most six decimals.
    """
    return _scaled(usd_per_million, 6)


def usd(pusd: int) -> str:
    """Format pUSD as an exact decimal string of USD with at least two decimals: `usd(2_500_000)` is `0.0000025`."""
    sign, magnitude = ("-", -pusd) if pusd < 0 else ("", pusd)
    whole, fraction = divmod(magnitude, PUSD_PER_USD)
    return f"{sign}{whole}.{f'{fraction:012}'.rstrip('0').ljust(2, '0')}"


def cents(pusd: int) -> int:
    """Round pUSD half-even to whole cents. Used only for a statement's total, so that rounding happens once."""
    with localcontext(prec=60):
        return int((Decimal(pusd) / PUSD_PER_CENT).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))


def usd_of_cents(amount: int) -> str:
    """Format cents as USD: `123` is `1.23`."""
    sign, magnitude = ("-", -amount) if amount < 0 else ("", amount)
    return f"{sign}{magnitude // 100}.{magnitude % 100:02}"


def parse_usd(text: str) -> int:
    """Return the pUSD that `usd` wrote as `text`, of any sign and size. Raises `ValueError` for any other text."""
    written = _WRITTEN.fullmatch(text)
    if written is None:
        raise ValueError(f"{text!r} is not an amount in USD")
    sign, whole, fraction = written.groups()
    return int(f"{sign}{whole}{fraction:0<12}")


def parse_cents(text: str) -> int:
    """Return the cents that `usd_of_cents` wrote as `text`. Raises `ValueError` for any other text."""
    amount, rest = divmod(parse_usd(text), PUSD_PER_CENT)
    if rest:
        raise ValueError(f"{text!r} is not a whole number of cents")
    return amount


def allocate_cents(lines: Mapping[LineT, int]) -> dict[LineT, int]:
    """Round the pUSD of lines to whole cents that add up to the rounded total.

    Uses the largest remainder method; equal remainders are ordered by key.
    Source: https://en.wikipedia.org/wiki/Largest_remainders_method
    """
    floors = {key: pusd // PUSD_PER_CENT for key, pusd in lines.items()}
    missing = cents(sum(lines.values())) - sum(floors.values())
    by_remainder = sorted(lines, key=lambda key: (-(lines[key] % PUSD_PER_CENT), key))
    return floors | {key: floors[key] + 1 for key in by_remainder[:missing]}


def _scaled(text: str, decimals: int) -> int:
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text!r} is not a decimal number") from None
    if not value.is_finite() or value < 0 or value > MAX_PERIOD_USD:
        raise ValueError(f"{text!r} must lie between 0 and {MAX_PERIOD_USD}")
    with localcontext(prec=60):  # the default precision of 28 digits would round
        scaled = value.scaleb(decimals)
        if scaled != scaled.to_integral_value():
            raise ValueError(f"{text!r} has more than {decimals} decimals")
        return int(scaled)
