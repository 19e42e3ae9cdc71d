"""One row of the price book: its key, its normal form, and its precedence among the rows that apply."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime

from shared.domain.pricing.money import pusd_per_token, usd
from shared.domain.pricing.service_tier import STANDARD_TIER, service_tier
from shared.domain.pricing.usage import Meter
from shared.domain.values import record

_UNITS = 10**6
_SEPARATOR = "\x1f"


@record
class Price:
    """One row: the price of a million units of a model's meter, from `effective_from` on.

    - `model_version`, `sku`, `region` and `variant` match any value if they are `None`. `variant` is the quality and
      size of images, for example `hd 1024x1792`.
    - `service_tier` is the tier that an answer states; `None` is the standard tier, and no other.
    - The context band applies to requests of more than `input_tokens_above` and at most `input_tokens_up_to` input
      tokens, and then to all of their tokens. Without a band the row applies where no row with a band does.
    """

    model: str
    meter: Meter
    usd_per_million: str
    effective_from: datetime
    model_version: str | None = None
    sku: str | None = None
    region: str | None = None
    variant: str | None = None
    service_tier: str | None = None
    input_tokens_above: int = 0
    input_tokens_up_to: int | None = None
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
        if self.service_tier is not None or self.has_band:
            parts += [f"tier={self.service_tier or '*'}", f"above={self.input_tokens_above}"]
            parts.append(f"up to={self.input_tokens_up_to or '*'}")
        return hashlib.sha256(_SEPARATOR.join(parts).encode()).hexdigest()[:10]

    @property
    def has_band(self) -> bool:
        """The row applies only to requests of some length."""
        return self.input_tokens_above > 0 or self.input_tokens_up_to is not None

    @property
    def key(self) -> tuple[str | None, ...]:
        """The fields that rows share only if their context bands differ: all but band, price and source.

        Earlier versions stored variants in any spelling, and each applies to all spellings.
        """
        at = self.effective_from.astimezone(UTC).isoformat()
        variant = None if self.variant is None else plain_variant(self.variant)
        fields = self.model, self.model_version, self.sku, self.region, self.meter.value, variant
        return *fields, self.service_tier, at

    @property
    def key_id(self) -> str:
        """A hash of the key. All rows of one key are stored in one place, so that none can contradict another."""
        parts = ("*" if part is None else f"={part}" for part in self.key)
        return "k" + hashlib.sha256(_SEPARATOR.join(parts).encode()).hexdigest()[:32]

    @property
    def precedence(self) -> tuple[int, datetime, int, str]:
        """The greatest precedence applies: the most named fields, then the latest date, then the order of fields.

        That order is variant, context band, SKU, region, model version. Of two rows without an order the larger id
        applies, and a row with an order comes before both.
        """
        of_request = self.variant is not None, self.has_band
        named = *of_request, self.sku is not None, self.region is not None, self.model_version is not None
        order = sum(is_named << bit for bit, is_named in enumerate(reversed(named))) if self.is_ordered else 0
        return sum(named), self.effective_from, order, self.price_id

    def covers(self, input_tokens: int) -> bool:
        """Tell whether the row applies to a request of so many input tokens. Without a band it applies to each."""
        is_short = self.input_tokens_up_to is None or input_tokens <= self.input_tokens_up_to
        return is_short and (input_tokens > self.input_tokens_above or not self.input_tokens_above)

    def contradicts(self, other: Price) -> bool:
        """Tell whether two rows of one key exclude each other: by two prices of one band, or by bands that overlap."""
        if self.band == other.band:
            return pusd_per_token(self.usd_per_million) != pusd_per_token(other.usd_per_million)
        first, second = sorted((self, other), key=lambda row: row.input_tokens_above)
        is_apart = first.input_tokens_up_to is not None and first.input_tokens_up_to <= second.input_tokens_above
        return self.has_band and other.has_band and not is_apart

    @property
    def band(self) -> tuple[int, int | None]:
        """The two ends of the context band."""
        return self.input_tokens_above, self.input_tokens_up_to

    def checked(self) -> Price:
        """Return the row itself. Raises `ValueError` for a price, a time or a band that none of ours has."""
        pusd_per_token(self.usd_per_million)
        try:
            is_moment = self.effective_from.tzinfo is not None and bool(self.key)
        except OverflowError:
            is_moment = False
        if not is_moment:
            raise ValueError(f"'{self.effective_from.isoformat()}' is no moment in UTC")
        above, up_to = self.band
        if above < 0 or (up_to is not None and up_to <= above):
            raise ValueError(f"no input has more than {above} and at most {up_to} tokens")
        return self

    def normalised(self) -> Price:
        """Return the row in the form in which new rows are stored: `60`, `60.0` and `6e1` are `60.00`.

        A variant is in small letters.
        """
        tier = service_tier(self.service_tier or STANDARD_TIER)
        return replace(
            self,
            service_tier=None if tier == STANDARD_TIER else tier,
            usd_per_million=usd(pusd_per_token(self.usd_per_million) * _UNITS),
            effective_from=self.effective_from.astimezone(UTC),
            variant=None if self.variant is None else plain_variant(self.variant),
            is_ordered=True,
        )


def plain_variant(text: str) -> str:
    """Return quality and size of images as they are compared: `HD  1024X1792` is `hd 1024x1792`."""
    return " ".join(text.lower().split())
