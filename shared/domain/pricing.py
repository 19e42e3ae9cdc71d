"""The price book: insert-only, effective-dated rows, and the cost of a usage under a version of it.

To add a meter, name it in `usage.Meter`; rows for it are then accepted and required where it is consumed.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from operator import mul

from shared.domain.errors import UnpricedModel
from shared.domain.money import pusd_per_token
from shared.domain.usage import INPUT_METERS, METERS, REQUIRED_METERS, Meter, Usage
from shared.domain.values import value

_VERSION_SEPARATOR = "."
_EVER = datetime.min.replace(tzinfo=UTC)
_NEVER = datetime.max.replace(tzinfo=UTC)


@value
class Price:
    """One row: what one meter of a model costs from a moment on. `None` matches any value."""

    model: str
    meter: Meter
    usd_per_million: str
    effective_from: datetime
    model_version: str | None = None
    sku: str | None = None
    region: str | None = None
    source: str = ""

    @property
    def price_id(self) -> str:
        """Ten hexadecimal digits derived from the content, so the same row inserted twice is one row."""
        parts = (
            self.model,
            self.model_version or "*",
            self.sku or "*",
            self.region or "*",
            self.meter.value,
            self.usd_per_million,
            self.effective_from.isoformat(),
        )
        return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:10]


@value
class Sku:
    """What a backend serves, as far as prices distinguish it."""

    model: str
    model_version: str
    sku: str
    region: str


@value
class RateCard:
    """pUSD per token in the order of `METERS`, and the version under which these rates are found again."""

    version: str
    rates: tuple[int, ...]

    def cost(self, usage: Usage) -> int:
        """Exact cost in pUSD."""
        return sum(map(mul, usage.buckets, self.rates))

    def bound(self, input_tokens: int, output_tokens: int) -> int:
        """The most these tokens can cost in pUSD, whatever meters they turn out to be."""
        inputs = len(INPUT_METERS)
        return input_tokens * max(self.rates[:inputs]) + output_tokens * max(self.rates[inputs:])


class PriceBook:
    """Immutable look-up over all price rows."""

    def __init__(self, prices: Iterable[Price]) -> None:
        self._by_model: dict[str, list[Price]] = defaultdict(list)
        self._by_id: dict[str, Price] = {}
        self._cards: dict[str, RateCard] = {}
        self._current: dict[Sku, tuple[datetime, datetime, RateCard]] = {}
        for price in prices:
            self._by_model[price.model].append(price)
            self._by_id[price.price_id] = price

    def rate_card(self, sku: Sku, at: datetime) -> RateCard:
        """The rates for `sku` at a moment: per meter the most specific row, then the latest not after `at`.

        Raises `UnpricedModel` unless both input and output are priced.
        """
        known = self._current.get(sku)
        if known is None or not known[0] <= at < known[1]:
            matching = [price for price in self._by_model.get(sku.model, ()) if _matches(price, sku)]
            changes = [price.effective_from for price in matching]
            since = max((change for change in changes if change <= at), default=_EVER)
            until = min((change for change in changes if change > at), default=_NEVER)
            known = since, until, self._resolve(sku, matching, at)
            self._current[sku] = known
        return known[2]

    def of_version(self, version: str) -> RateCard:
        """The rates stamped on a reservation or entry; `UnpricedModel` if a row of them is missing.

        A meter without a row of its own costs what its base meter (input or output) costs.
        """
        card = self._cards.get(version)
        if card is None:
            try:
                rows = [self._by_id[price_id] for price_id in version.split(_VERSION_SEPARATOR)]
            except KeyError:
                raise UnpricedModel(f"Price version '{version}' is not in the price book.") from None
            rates = {row.meter: pusd_per_token(row.usd_per_million) for row in rows}
            bases = {meter: Meter.INPUT if meter in INPUT_METERS else Meter.OUTPUT for meter in METERS}
            card = RateCard(version, tuple(rates.get(meter, rates[bases[meter]]) for meter in METERS))
            self._cards[version] = card
        return card

    def _resolve(self, sku: Sku, matching: Iterable[Price], at: datetime) -> RateCard:
        best: dict[Meter, Price] = {}
        for price in matching:
            known = best.get(price.meter)
            if price.effective_from <= at and (known is None or _precedence(price) > _precedence(known)):
                best[price.meter] = price
        missing = [meter.value for meter in REQUIRED_METERS if meter not in best]
        if missing:
            raise UnpricedModel(
                f"No price is known for {' and '.join(missing)} tokens of model '{sku.model}' "
                f"({sku.sku}, {sku.region}). Insert one with POST /manage/prices."
            )
        return self.of_version(_VERSION_SEPARATOR.join(best[meter].price_id for meter in METERS if meter in best))


def _matches(price: Price, sku: Sku) -> bool:
    return (
        price.model_version in (None, sku.model_version)
        and price.sku in (None, sku.sku)
        and price.region in (None, sku.region)
    )


def _precedence(price: Price) -> tuple[int, datetime, str]:
    named = (price.model_version, price.sku, price.region)
    return sum(value is not None for value in named), price.effective_from, price.price_id
