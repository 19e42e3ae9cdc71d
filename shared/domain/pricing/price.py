"""One row of the price book: its key, its normal form, and its precedence among the rows that apply."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime

from shared.domain.pricing.money import pusd_per_token, usd
from shared.domain.pricing.usage import Meter
from shared.domain.values import record

_UNITS = 10**6
_SEPARATOR = "\x1f"


@record
class Price:
    """One row: the price of a million units of a model's meter, from `effective_from` on.

    `model_version`, `sku`, `region` and `variant` match any value if they are `None`. `variant` is the quality and size
    of images, for example `hd 1024x1792`.
    """

    model: str
    meter: Meter
    usd_per_million: str
    effective_from: datetime
    model_version: str | None = None
    sku: str | None = None
    region: str | None = None
    variant: str | None = None
    source: str = ""
    is_ordered: bool = False
    """The named fields decide a tie. In rows of earlier versions, which lack this, the larger id does."""

    @property
    def price_id(self) -> str:
        """Ten hexadecimal digits of a hash of the content, by which entries name the row."""
        parts = [
            self.model,
            self.model_version or "*",
            self.sku or "*",
            self.region or "*",
            self.meter.value,
            self.usd_per_million,
            self.effective_from.isoformat(),
        ]
        if self.variant is not None:
            parts.append(self.variant)
        return hashlib.sha256(_SEPARATOR.join(parts).encode()).hexdigest()[:10]

    @property
    def key(self) -> tuple[str | None, ...]:
        """The fields that rows may share only if they agree on the price: all but the price and its source."""
        at = self.effective_from.astimezone(UTC).isoformat()
        return self.model, self.model_version, self.sku, self.region, self.meter.value, self.variant, at

    @property
    def key_id(self) -> str:
        """A hash of the key, by which the row is stored: two rows of one key cannot both be stored."""
        parts = ("*" if part is None else f"={part}" for part in self.key)
        return "k" + hashlib.sha256(_SEPARATOR.join(parts).encode()).hexdigest()[:32]

    @property
    def precedence(self) -> tuple[int, datetime, int, str]:
        """The greatest precedence applies: the most named fields, then the latest date, then the order of fields.

        That order is variant, SKU, region, model version. Of two rows without an order the larger id applies, and a row
        with an order comes before both.
        """
        named = [each is not None for each in (self.variant, self.sku, self.region, self.model_version)]
        order = sum(is_named << bit for bit, is_named in enumerate(reversed(named))) if self.is_ordered else 0
        return sum(named), self.effective_from, order, self.price_id

    def normalised(self) -> Price:
        """Return the row in the form in which new rows are stored: `60`, `60.0` and `6e1` are `60.00`."""
        return replace(
            self,
            usd_per_million=usd(pusd_per_token(self.usd_per_million) * _UNITS),
            effective_from=self.effective_from.astimezone(UTC),
            is_ordered=True,
        )

    def has_price_of(self, other: Price) -> bool:
        """Tell whether both rows state the same price, however it is spelled."""
        return pusd_per_token(self.usd_per_million) == pusd_per_token(other.usd_per_million)
