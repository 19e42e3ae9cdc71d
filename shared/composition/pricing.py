"""Wire the price book."""

from __future__ import annotations

from dataclasses import dataclass

from shared.application.cached_value import Cached
from shared.application.pricing.load_prices import LoadPrices
from shared.application.pricing.manage_prices import ManagePrices
from shared.composition.adapters import Adapters
from shared.domain.pricing.price_book import PriceBook


@dataclass(frozen=True, slots=True)
class Pricing:
    """The price book of this process, and the use case that manages its rows."""

    book: Cached[PriceBook]
    prices: ManagePrices


def wire_pricing(adapters: Adapters) -> Pricing:
    """Make the price book and the use case of prices."""

    book = Cached(LoadPrices(adapters.prices), adapters.clock)
    return Pricing(book=book, prices=ManagePrices(adapters.prices, book, adapters.clock))
