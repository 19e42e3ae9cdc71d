"""The prices of all meters for one backend, service tier and context band, and the cost of a usage under them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import mul
from typing import Final, Self

from shared.domain.pricing.money import pusd_per_token
from shared.domain.pricing.price import Price
from shared.domain.pricing.service_tier import STANDARD_TIER
from shared.domain.pricing.usage import INPUT_METERS, METERS, NOTHING_USED, OUTPUT_METERS, TOKEN_METERS, Meter, Usage
from shared.domain.values import fact

_BASE_METERS: Final[Mapping[Meter, Meter]] = dict.fromkeys(INPUT_METERS, Meter.INPUT) | dict.fromkeys(
    OUTPUT_METERS, Meter.OUTPUT
)


@fact
class RateCard:
    """The prices of all meters for a backend at a moment, in pUSD per unit in the order of `METERS`.

    `version` is stored with each reservation and entry; `PriceBook.of_version` finds the same prices by it.
    """

    version: str
    model: str
    service_tier: str
    input_tokens_above: int
    """The lower end of the context band; 0 for short requests and for prices without bands."""
    pusd_per_unit: tuple[int, ...]
    dearest_input: int
    dearest_output: int
    prices_audio_input: bool
    """Audio tokens of the input have a price of their own, or tokens cost nothing."""
    prices_audio_output: bool

    @classmethod
    def of(cls, version: str, rows: Sequence[Price]) -> Self:
        """Make the rate card of the rows that a version names, one a meter.

        A token meter without a row of its own has the price of its base meter, input or output. Any other meter without
        a row costs nothing, because the basis of pricing did not include it.
        """
        prices = {row.meter: pusd_per_token(row.usd_per_million) for row in rows}
        per_unit = tuple(prices.get(meter, prices.get(_BASE_METERS.get(meter, meter), 0)) for meter in METERS)
        inputs, tokens = len(INPUT_METERS), len(TOKEN_METERS)
        dearest_input, dearest_output = max(per_unit[:inputs]), max(per_unit[inputs:tokens])
        return cls(
            version=version,
            model=rows[0].model,
            service_tier=rows[0].service_tier or STANDARD_TIER,
            input_tokens_above=max(row.input_tokens_above for row in rows),
            pusd_per_unit=per_unit,
            dearest_input=dearest_input,
            dearest_output=dearest_output,
            prices_audio_input=Meter.AUDIO_INPUT in prices or not dearest_input,
            prices_audio_output=Meter.AUDIO_OUTPUT in prices or not dearest_output,
        )

    @property
    def charges_tokens(self) -> bool:
        """Tokens cost something, and not only other units."""
        return bool(self.dearest_input or self.dearest_output)

    @property
    def label(self) -> str:
        """The service tier and the context band in words; empty for standard prices."""
        tier = "" if self.service_tier == STANDARD_TIER else self.service_tier
        band = f"above {self.input_tokens_above}" if self.input_tokens_above else ""
        return f"{tier} {band}".strip()

    def cost(self, usage: Usage) -> int:
        """Return the exact cost of a usage, in pUSD."""
        return sum(map(mul, usage.buckets, self.pusd_per_unit))

    def prices_all_of(self, usage: Usage) -> bool:
        """Tell whether audio tokens have prices of their own, if the usage has any. Text tokens always have one."""
        return (self.prices_audio_input or not usage.audio_input) and (
            self.prices_audio_output or not usage.audio_output
        )

    def bound(self, input_tokens: int, output_tokens: int, units: Usage = NOTHING_USED) -> int:
        """Return the most that these tokens and other units can cost, in pUSD.

        Tokens count at the highest price of any meter that they may turn out to belong to.
        """
        dearest = input_tokens * self.dearest_input + output_tokens * self.dearest_output
        return dearest if units is NOTHING_USED else dearest + self.cost(units)
