"""Faults in prices, usage, rate limits and the content filter."""

from __future__ import annotations

from tests.proof.mutation.mutant import mutants_of
from tests.proof.mutation.operators import argument, assigned, called, flipped, replaced, returns

_BOOK = "shared.domain.pricing.price_book"
_RATES = "shared.domain.pricing.rates"
_CARD = "shared.domain.pricing.rate_card"
_PRICING = "unit/pricing"
_RATE_LIMITS = "unit/ledger/test_rate_limit.py"

MUTANTS = [
    *mutants_of(
        f"{_CARD}:RateCard.of",
        _PRICING,
        {
            "output is priced as input": replaced(
                "_BASE_METERS.get(meter, meter)", "Meter.INPUT if meter in TOKEN_METERS else meter"
            ),
        },
    ),
    *mutants_of(
        f"{_BOOK}:PriceBook._rate_card",
        _PRICING,
        {
            "the oldest price wins": flipped("price.precedence"),
            "a model without a price is served": replaced("all", "any"),
        },
    ),
    *mutants_of(
        f"{_RATES}:Rates.hold",
        _PRICING,
        {"the hold takes the cheapest tier": called("max", "min(bounds, key=lambda bound: bound[0])")},
    ),
    *mutants_of(
        f"{_RATES}:Rates.applied",
        _PRICING,
        {"the tier that the answer states is ignored": called("service_tier", "STANDARD_TIER")},
    ),
    *mutants_of(
        "shared.domain.pricing.price:Price.contradicts", _PRICING, {"bands may overlap": returns("False", of=2, at=2)}
    ),
    *mutants_of(f"{_CARD}:RateCard.bound", _PRICING, {"a reservation holds nothing for images": returns("dearest")}),
    *mutants_of(
        f"{_BOOK}:_matches", _PRICING, {"the price of an image's variant is ignored": replaced("variant", "None")}
    ),
    *mutants_of(
        "shared.domain.pricing.usage:disjoint_usage",
        _PRICING,
        {"cached input is billed twice": argument("Usage", "input", "prompt - written - audio_input", of=2, at=2)},
    ),
    *mutants_of(
        "shared.domain.rate_limit:Arrivals.admit",
        _RATE_LIMITS,
        {"a request above the rate limit is admitted too early": replaced("_MINUTE", "2 * _")},
    ),
    *mutants_of(
        "shared.domain.rate_limit:_arrival",
        _RATE_LIMITS,
        {
            "the rate limit forgets earlier requests": called("max", "moment"),
            "the rate limit is rounded in the caller's favour": returns(
                "max(arrival, moment) + cost * _MINUTE // per_minute", of=2, at=2
            ),
        },
    ),
    *mutants_of(
        "shared.domain.content_filter:refused_categories",
        "unit/inference/test_formats.py",
        {"a severity below the threshold is refused": assigned("unwanted", "(*VERDICTS, *_SEVERITIES)")},
    ),
]
