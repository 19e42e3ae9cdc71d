"""The price book: insert-only rows with effective dates, and the cost of a usage under a price version.

To add a meter, add it to `usage.Meter`. Rows for it are then accepted, and required where it is consumed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from operator import mul
from typing import NamedTuple, Self

from shared.domain.errors import UnpricedModel
from shared.domain.pricing.money import pusd_per_token
from shared.domain.pricing.price import Price
from shared.domain.pricing.usage import INPUT_METERS, METERS, NOTHING_USED, OUTPUT_METERS, TOKEN_METERS, Meter, Usage
from shared.domain.values import fact, value

_VERSION_SEPARATOR = "."
_EVER = datetime.min.replace(tzinfo=UTC)
_NEVER = datetime.max.replace(tzinfo=UTC)


class PriceKey(NamedTuple):
    """The properties of a backend by which prices differ."""

    model: str
    model_version: str
    sku: str
    region: str


@value
class Basis:
    """The meters by which an operation is priced: the first of the `alternatives` whose meters all have a price.

    A model with prices for images is therefore charged for images, even if its answers state tokens. `name` identifies
    the alternatives: only the constants below exist.
    """

    name: str
    alternatives: tuple[tuple[Meter, ...], ...]
    variant: str = ""


_BY_TOKEN = (Meter.INPUT, Meter.OUTPUT)
TOKENS = Basis("tokens", (_BY_TOKEN,))
INPUT_TOKENS = Basis("input tokens", ((Meter.INPUT,),))
IMAGES = Basis("images", ((Meter.IMAGES,), _BY_TOKEN))
SPEECH = Basis("speech", ((Meter.SPEECH_CHARACTERS,), _BY_TOKEN))
SOUND = Basis("sound", ((Meter.AUDIO_SECONDS,), _BY_TOKEN))


def images_of(variant: str) -> Basis:
    """Return the basis for images of one quality and size."""
    return Basis(IMAGES.name, IMAGES.alternatives, variant)


@fact
class RateCard:
    """The prices of all meters for a backend at a moment, in pUSD per unit in the order of `METERS`.

    `version` is stored with each reservation and entry; `PriceBook.of_version` finds the same prices by it.
    """

    version: str
    pusd_per_unit: tuple[int, ...]
    dearest_input: int
    dearest_output: int

    @classmethod
    def of(cls, version: str, pusd_per_unit: tuple[int, ...]) -> Self:
        """Make a rate card, with the highest prices of its input and output tokens."""
        inputs, tokens = len(INPUT_METERS), len(TOKEN_METERS)
        return cls(
            version=version,
            pusd_per_unit=pusd_per_unit,
            dearest_input=max(pusd_per_unit[:inputs]),
            dearest_output=max(pusd_per_unit[inputs:tokens]),
        )

    @property
    def charges_tokens(self) -> bool:
        """Tokens cost something, and not only other units."""
        return bool(self.dearest_input or self.dearest_output)

    def cost(self, usage: Usage) -> int:
        """Return the exact cost of a usage, in pUSD."""
        return sum(map(mul, usage.buckets, self.pusd_per_unit))

    def bound(self, input_tokens: int, output_tokens: int, units: Usage = NOTHING_USED) -> int:
        """Return the most that these tokens and other units can cost, in pUSD.

        Tokens count at the highest price of any meter that they may turn out to belong to.
        """
        dearest = input_tokens * self.dearest_input + output_tokens * self.dearest_output
        return dearest if units is NOTHING_USED else dearest + self.cost(units)


class PriceBook:
    """Looks up prices. Its rows never change; a new row needs a new book."""

    def __init__(self, prices: Iterable[Price]) -> None:
        self._by_model: dict[str, list[Price]] = defaultdict(list)
        self._by_id: dict[str, Price] = {}
        self._cards: dict[str, RateCard] = {}
        self._current: dict[tuple[PriceKey, str, str], tuple[datetime, datetime, RateCard]] = {}
        for price in prices:
            self._by_model[price.model].append(price)
            self._by_id[price.price_id] = price

    def rate_card(self, sku: PriceKey, at: datetime, basis: Basis = TOKENS) -> RateCard:
        """Return the rate card for `sku` at the moment `at`.

        For each meter the most specific row applies, and among equals the latest that is effective at the moment.
        Raises `UnpricedModel` unless one alternative of `basis` is priced.
        """
        known = self._current.get((sku, basis.name, basis.variant))
        if known is None or not known[0] <= at < known[1]:
            matching = [price for price in self._by_model.get(sku.model, ()) if _matches(price, sku, basis.variant)]
            changes = [price.effective_from for price in matching]
            # The card holds from the last change of a matching row until the next one.
            since = max((change for change in changes if change <= at), default=_EVER)
            until = min((change for change in changes if change > at), default=_NEVER)
            known = since, until, self._resolve(sku, matching, at, basis)
            self._current[sku, basis.name, basis.variant] = known
        return known[2]

    def of_version(self, version: str) -> RateCard:
        """Return the rate card of a price version that a reservation or entry stores.

        A token meter without a row of its own has the price of its base meter, input or output. Any other meter without
        a row costs nothing, because the basis of pricing did not include it.
        Raises `UnpricedModel` if the book lacks a row of the version.
        """
        card = self._cards.get(version)
        if card is None:
            try:
                rows = [self._by_id[price_id] for price_id in version.split(_VERSION_SEPARATOR)]
            except KeyError:
                raise UnpricedModel(f"Price version '{version}' is not in the price book.") from None
            prices = {row.meter: pusd_per_token(row.usd_per_million) for row in rows}
            bases = dict.fromkeys(INPUT_METERS, Meter.INPUT) | dict.fromkeys(OUTPUT_METERS, Meter.OUTPUT)
            card = RateCard.of(
                version, tuple(prices.get(meter, prices.get(bases.get(meter, meter), 0)) for meter in METERS)
            )
            self._cards[version] = card
        return card

    def _resolve(self, sku: PriceKey, matching: Iterable[Price], at: datetime, basis: Basis) -> RateCard:
        best: dict[Meter, Price] = {}
        for price in matching:
            known = best.get(price.meter)
            if price.effective_from <= at and (known is None or price.precedence > known.precedence):
                best[price.meter] = price
        for meters in basis.alternatives:
            if all(meter in best for meter in meters):
                charged = TOKEN_METERS if meters[0] in TOKEN_METERS else meters
                return self.of_version(
                    _VERSION_SEPARATOR.join(best[meter].price_id for meter in charged if meter in best)
                )
        missing = " or ".join(
            " and ".join(meter for meter in meters if meter not in best) for meters in basis.alternatives
        )
        variant = f", {basis.variant}" if basis.variant else ""
        raise UnpricedModel(
            f"No price is known for {missing} of model '{sku.model}' ({sku.sku}, {sku.region}{variant}). "
            "Insert one with POST /manage/prices."
        )


def _matches(price: Price, sku: PriceKey, variant: str) -> bool:
    return (
        price.model_version in (None, sku.model_version)
        and price.variant in (None, variant)
        and price.sku in (None, sku.sku)
        and price.region in (None, sku.region)
    )
