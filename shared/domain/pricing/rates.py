"""All prices that may apply to one request at one backend: by service tier, and by the length of its input."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Self

from shared.domain.errors import UnpricedModel
from shared.domain.pricing.rate_card import RateCard
from shared.domain.pricing.service_tier import STANDARD_TIER, UNSTATED_TIER, service_tier
from shared.domain.pricing.usage import NOTHING_USED, Usage
from shared.domain.values import fact, value


class PriceFlag(StrEnum):
    """A reason why the price of an entry is an assumption."""

    UNPRICED_TIER = "unpriced_tier"
    """The tier that the answer states has no price: the dearest price of all tiers was taken."""
    UNSTATED_TIER = "unstated_tier"
    """The request named a tier and the answer states none: the dearer of that and the standard price was taken."""
    UNPRICED_BAND = "unpriced_band"
    """No price covers so many input tokens: the dearest price was taken."""
    UNCONFIGURED_SPILLOVER = "unconfigured_spillover"
    """Azure's own spillover served by a deployment that the backend does not state."""
    UNPRICED_METER = "unpriced_meter"
    """Audio tokens without a price of their own: they were charged as text."""


@value
class Band:
    """The prices for requests of at most `up_to` input tokens; `None` for any number."""

    up_to: int | None
    rate_card: RateCard | None
    """`None` if no price is known."""
    missing: str = ""
    """Names the meters without a price; empty if all have one."""


@value
class AppliedPrice:
    """The rate card of a settlement, and why it is an assumption, if it is one."""

    rate_card: RateCard
    flags_text: str = ""
    """Sorted `PriceFlag`s, joined by commas."""

    def flagged(self, flag: str) -> str:
        """Return the flags with one more."""
        return ",".join(sorted({flag, *filter(None, self.flags_text.split(","))}))


@fact
class Rates:
    """The rate cards of all priced service tiers. The bands of each follow each other, from 0 input tokens on.

    Prepared once for a backend's key, a basis and a named tier, because every request looks them up.
    """

    bands: Mapping[str, Sequence[Band]]
    named: str
    """The tier that the request names; empty if it names none, so that upstream may choose any."""
    only: AppliedPrice | None
    """The standard price, if it has no bands and no other tier may serve the request."""

    @classmethod
    def of(cls, bands: Mapping[str, Sequence[Band]], named: str) -> Self:
        """Make the rates of a request that names the tier `named`."""
        standard = bands.get(STANDARD_TIER, ())
        is_simple = len(standard) == 1 and (named == STANDARD_TIER or (named == UNSTATED_TIER and len(bands) == 1))
        rate_card = standard[0].rate_card if is_simple else None
        return cls(bands=bands, named=named, only=None if rate_card is None else AppliedPrice(rate_card))

    @classmethod
    def of_card(cls, rate_card: RateCard) -> Self:
        """Make the rates of a reservation of an earlier version, of which only the price version is known."""
        return cls.of({STANDARD_TIER: (Band(None, rate_card),)}, UNSTATED_TIER)

    def with_card(self, held: RateCard) -> Rates:
        """Return these rates with `held` in the place of the rate card of its tier and band."""

        def place(band: Band) -> Band:
            card = band.rate_card
            is_same = card is not None and (card.service_tier, card.input_tokens_above) == (
                held.service_tier,
                held.input_tokens_above,
            )
            return Band(band.up_to, held) if is_same else band

        return Rates.of({tier: [*map(place, bands)] for tier, bands in self.bands.items()}, self.named)

    def hold(self, input_tokens: int, output_tokens: int, units: Usage = NOTHING_USED) -> tuple[RateCard, int]:
        """Return the dearest rate card that may apply, and the most that the request can cost by it, in pUSD.

        Raises `UnpricedModel` if a band of the required tier that the input may reach has no price.
        """
        if self.only is not None:
            rate_card = self.only.rate_card
            return rate_card, rate_card.bound(input_tokens, output_tokens, units)
        bounds = [
            (rate_card.bound(input_tokens, output_tokens, units), rate_card)
            for tier in self._allowed
            for rate_card in self._reached(tier, input_tokens)
        ]
        pusd, rate_card = max(bounds, key=lambda bound: bound[0])
        return rate_card, pusd

    def dearest(self, input_tokens: int, output_tokens: int, units: Usage = NOTHING_USED) -> int:
        """Return the most that the request can cost by any price of any tier, in pUSD."""
        cards = (band.rate_card for bands in self.bands.values() for band in bands)
        return max(card.bound(input_tokens, output_tokens, units) for card in cards if card is not None)

    def applied(self, stated_tier: str, usage: Usage) -> AppliedPrice:
        """Return the price of a usage in the tier that the answer states. What lacks a price is flagged."""
        only = self.only
        if only is not None and (not stated_tier or stated_tier == STANDARD_TIER):
            if not (usage.audio_input or usage.audio_output):
                return only
            return _flagged(only.rate_card, usage)
        tier = service_tier(stated_tier)
        if tier == UNSTATED_TIER and self.named in (UNSTATED_TIER, STANDARD_TIER):
            tier = STANDARD_TIER
        if tier == UNSTATED_TIER:
            return self._dearest(self._allowed, usage, PriceFlag.UNSTATED_TIER)
        if tier not in self.bands:
            return self._dearest(self.bands, usage, PriceFlag.UNPRICED_TIER)
        rate_card = _band_of(self.bands[tier], usage.input_tokens).rate_card
        if rate_card is None:
            return self._dearest(self.bands, usage, PriceFlag.UNPRICED_BAND)
        return _flagged(rate_card, usage)

    @property
    def _required(self) -> str:
        return self.named or STANDARD_TIER

    @property
    def _allowed(self) -> Sequence[str]:
        """The tiers in which upstream may serve: it may lower a named tier to the standard one."""
        if self.named == UNSTATED_TIER:
            return [*self.bands]
        return [tier for tier in dict.fromkeys((self.named, STANDARD_TIER)) if tier in self.bands]

    def _reached(self, tier: str, input_tokens: int) -> Iterator[RateCard]:
        """Return the prices of the bands that an input of at most so many tokens may fall into."""
        bands = self.bands[tier]
        for band in bands[: bands.index(_band_of(bands, input_tokens)) + 1]:
            if band.rate_card is not None:
                yield band.rate_card
            elif tier == self._required:
                raise UnpricedModel(band.missing)

    def _dearest(self, tiers: Iterable[str], usage: Usage, flag: PriceFlag) -> AppliedPrice:
        """Return the dearest price of these tiers for so many input tokens; of all bands if that one has no price."""
        cards = (_band_of(self.bands[tier], usage.input_tokens).rate_card for tier in tiers)
        known = [card for card in cards if card is not None] or [
            band.rate_card for bands in self.bands.values() for band in bands if band.rate_card is not None
        ]
        rate_card = max(known, key=lambda card: card.cost(usage))
        return _flagged(rate_card, usage, flag)


def _band_of(bands: Sequence[Band], input_tokens: int) -> Band:
    return next(band for band in bands if band.up_to is None or input_tokens <= band.up_to)


def _flagged(rate_card: RateCard, usage: Usage, *flags: PriceFlag) -> AppliedPrice:
    if not rate_card.prices_all_of(usage):
        flags = *flags, PriceFlag.UNPRICED_METER
    return AppliedPrice(rate_card, ",".join(sorted(flags)))
