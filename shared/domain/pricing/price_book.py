"""The price book: insert-only rows with effective dates, and the prices that apply to a request.

To add a meter, add it to `usage.Meter`. Rows for it are then accepted, and required where it is consumed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from shared.domain.errors import UnpricedModel
from shared.domain.pricing.damaged_price import DamagedPrice, PricesDamaged
from shared.domain.pricing.price import Price, plain_variant
from shared.domain.pricing.rate_card import RateCard
from shared.domain.pricing.rates import Band, Rates
from shared.domain.pricing.service_tier import STANDARD_TIER, UNSTATED_TIER
from shared.domain.pricing.usage import TOKEN_METERS, Meter
from shared.domain.values import value

_VERSION_SEPARATOR = "."
_MAX_NAMED: Final = 5
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

    @property
    def meters(self) -> frozenset[Meter]:
        """All meters by whose prices a request may be charged: of an alternative in tokens, every meter of tokens."""
        return frozenset(meter for meters in self.alternatives for meter in _charged(meters))


_BY_TOKEN = (Meter.INPUT, Meter.OUTPUT)
TOKENS = Basis("tokens", (_BY_TOKEN,))
_TOKENS_WITH_AUDIO = {
    (True, False): Basis("tokens with audio input", ((Meter.INPUT, Meter.AUDIO_INPUT, Meter.OUTPUT),)),
    (False, True): Basis("tokens with audio output", ((*_BY_TOKEN, Meter.AUDIO_OUTPUT),)),
    (True, True): Basis("tokens with audio", ((Meter.INPUT, Meter.AUDIO_INPUT, *_BY_TOKEN[1:], Meter.AUDIO_OUTPUT),)),
}
INPUT_TOKENS = Basis("input tokens", ((Meter.INPUT,),))
IMAGES = Basis("images", ((Meter.IMAGES,), _BY_TOKEN))
SPEECH = Basis("speech", ((Meter.SPEECH_CHARACTERS,), _BY_TOKEN))
SOUND = Basis("sound", ((Meter.AUDIO_SECONDS,), (Meter.INPUT, Meter.AUDIO_INPUT, Meter.OUTPUT)))


def tokens_of(*, has_audio: bool, asks_for_audio: bool) -> Basis:
    """Return the basis for tokens of a request that carries audio, asks for audio, or both. Audio needs its price."""
    return _TOKENS_WITH_AUDIO.get((has_audio, asks_for_audio), TOKENS)


def images_of(variant: str) -> Basis:
    """Return the basis for images of one quality and size."""
    return Basis(IMAGES.name, IMAGES.alternatives, variant)


class PriceBook:
    """Looks up prices. Its rows never change; a new row needs a new book.

    A request that a damaged row may price is refused: without the row an older or another price would apply.
    """

    def __init__(self, prices: Iterable[Price], damaged: Sequence[DamagedPrice] = ()) -> None:
        self.damaged = damaged
        self._by_model: dict[str, list[Price]] = defaultdict(list)
        self._by_id: dict[str, Price] = {}
        self._cards: dict[str, RateCard] = {}
        self._current: dict[tuple[PriceKey, str, str, str], tuple[datetime, datetime, Rates]] = {}
        for price in prices:
            self._by_model[price.model].append(price)
            self._by_id[price.price_id] = price

    def rates(self, sku: PriceKey, at: datetime, basis: Basis = TOKENS, named_tier: str = UNSTATED_TIER) -> Rates:
        """Return all prices that may apply at the moment `at` to a request for `sku` that names this service tier.

        For each tier, context band and meter the row of the greatest precedence applies. Raises `UnpricedModel` unless
        one alternative of `basis` is priced in the tier that the request needs: the named one, else the standard one.
        Raises `PricesDamaged` if a damaged row may price one of the basis' meters.
        """
        key = sku, basis.name, basis.variant, named_tier
        known = self._current.get(key)
        if known is None or not known[0] <= at < known[1]:
            self._require_sound(sku.model, basis)
            matching = [price for price in self._by_model.get(sku.model, ()) if _matches(price, sku, basis.variant)]
            changes = [price.effective_from for price in matching]
            # The prices hold from the last change of a matching row until the next one.
            since = max((change for change in changes if change <= at), default=_EVER)
            until = min((change for change in changes if change > at), default=_NEVER)
            effective = [price for price in matching if price.effective_from <= at]
            known = since, until, self._rates(sku, effective, basis, named_tier)
            self._current[key] = known
        return known[2]

    def of_version(self, version: str) -> RateCard:
        """Return the rate card of a price version that a reservation or entry stores.

        A version names its rows by hashes of their contents, so that no other price can take their place. Raises
        `UnpricedModel` if the book lacks a row of the version; `PricesDamaged` if it may be one of the damaged rows.
        """
        card = self._cards.get(version)
        if card is None:
            try:
                rows = [self._by_id[price_id] for price_id in version.split(_VERSION_SEPARATOR)]
            except KeyError:
                message = f"Price version '{version}' is not in the price book."
                if self.damaged:
                    raise PricesDamaged(f"{message} {_cannot_be_read(self.damaged)}") from None
                raise UnpricedModel(message) from None
            card = self._cards[version] = RateCard.of(version, rows)
        return card

    def has_price(self, key: PriceKey, at: datetime) -> bool:
        """Tell if any row is a price of `key` at the moment `at`, whatever its meter and its variant."""
        rows = self._by_model.get(key.model, ())
        return any(row.effective_from <= at and _is_for(row, key) for row in rows)

    def _require_sound(self, model: str, basis: Basis) -> None:
        """Raise `PricesDamaged` if a damaged row may price a request for the model on this basis."""
        if self.damaged and (found := [row for row in self.damaged if row.concerns(model, basis.meters)]):
            raise PricesDamaged(f"Requests for the model '{model}' are refused. {_cannot_be_read(found)}")

    def _rates(self, sku: PriceKey, rows: Sequence[Price], basis: Basis, named_tier: str) -> Rates:
        required = named_tier or STANDARD_TIER
        tiers = {required, *(row.service_tier or STANDARD_TIER for row in rows)}
        all_bands = {tier: self._bands(sku, _in_tier(rows, tier), basis, tier) for tier in sorted(tiers)}
        bands = {tier: found for tier, found in all_bands.items() if any(band.rate_card for band in found)}
        if required not in bands:
            raise UnpricedModel(all_bands[required][0].missing)
        return Rates.of(bands, named_tier)

    def _bands(self, sku: PriceKey, rows: Sequence[Price], basis: Basis, tier: str) -> list[Band]:
        """Return the prices of one tier, from the shortest to the longest input. Neighbours with one price are one."""
        ends = {row.input_tokens_up_to for row in rows if row.input_tokens_up_to} | {
            row.input_tokens_above for row in rows if row.input_tokens_above
        }
        found: list[Band] = []
        above = 0
        for up_to in (*sorted(ends), None):
            covering = [row for row in rows if row.covers(up_to or above + 1)]
            card, missing = self._rate_card(covering, basis)
            if found and card is not None and found[-1].rate_card is card:
                found.pop()
            found.append(Band(up_to, card, missing and _unpriced(missing, sku, basis, tier, above)))
            above = up_to or above
        return found

    def _rate_card(self, rows: Iterable[Price], basis: Basis) -> tuple[RateCard | None, str]:
        """Return the rate card of the rows with the greatest precedence, or `None` and the meters without a price."""
        best: dict[Meter, Price] = {}
        for price in rows:
            known = best.get(price.meter)
            if known is None or price.precedence > known.precedence:
                best[price.meter] = price
        for meters in basis.alternatives:
            if all(meter in best for meter in meters):
                charged = (meter for meter in _charged(meters) if meter in best)
                version = _VERSION_SEPARATOR.join(best[meter].price_id for meter in charged)
                return self.of_version(version), ""
        missing = (" and ".join(meter for meter in meters if meter not in best) for meters in basis.alternatives)
        return None, " or ".join(missing)


NO_PRICES: Final = PriceBook(())


def _charged(meters: Sequence[Meter]) -> Sequence[Meter]:
    """Return the meters that are charged if these have prices: all meters of tokens, or these."""
    return TOKEN_METERS if meters[0] in TOKEN_METERS else meters


def _cannot_be_read(damaged: Sequence[DamagedPrice]) -> str:
    """Name damaged rows in a message, the first five of many."""
    named = "; ".join(map(str, damaged[:_MAX_NAMED]))
    more = f"; and {len(damaged) - _MAX_NAMED} more" if len(damaged) > _MAX_NAMED else ""
    return f"These rows of the price book are damaged: {named}{more}."


def _matches(price: Price, sku: PriceKey, variant: str) -> bool:
    return _is_for(price, sku) and (price.variant is None or plain_variant(price.variant) == variant)


def _is_for(price: Price, key: PriceKey) -> bool:
    return (
        price.model_version in (None, key.model_version)
        and price.sku in (None, key.sku)
        and price.region in (None, key.region)
    )


def _in_tier(rows: Iterable[Price], tier: str) -> list[Price]:
    return [row for row in rows if (row.service_tier or STANDARD_TIER) == tier]


def _unpriced(missing: str, sku: PriceKey, basis: Basis, tier: str, above: int) -> str:
    details = [sku.sku, sku.region, *([basis.variant] if basis.variant else [])]
    if tier != STANDARD_TIER:
        details.append(f"service tier '{tier}'")
    if above:
        details.append(f"more than {above} input tokens")
    return (
        f"No price is known for {missing} of model '{sku.model}' ({', '.join(details)}). "
        "Insert one with POST /manage/prices."
    )
