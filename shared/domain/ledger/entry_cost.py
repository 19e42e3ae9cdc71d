"""The charges that an entry is made of: usage by price version. Verification and statements price an entry by them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from shared.domain.errors import UnpricedModel
from shared.domain.ledger.entries import Attempt, Outcome, Reservation
from shared.domain.pricing.usage import NOTHING_USED, Usage

_METERS = tuple(field.name for field in fields(Usage))


def corrected_charge(reservation: Reservation, price_version: str, charged: Usage) -> str:
    """Return the field `corrected` of a late settlement at `price_version`, after expiry charged the usage `charged`.

    It is empty if the reservation has the same price version: the difference of the usages then says all.
    """
    before = reservation.attempt.price_version
    if before == price_version:
        return ""
    used = [f"{meter}={quantity}" for meter in _METERS if (quantity := getattr(charged, meter))]
    return " ".join([before, *used]) if used else ""


def charges(attempt: Attempt, outcome: Outcome) -> Sequence[tuple[str, Usage]]:
    """Return price versions with the usages that an entry charges by them. A corrected charge is negative.

    Raises `UnpricedModel` if the corrected charge cannot be read, because the row was changed.
    """
    if not outcome.corrected:
        return ((attempt.price_version, outcome.usage),)
    try:
        before, *quantities = outcome.corrected.split()
        pairs = (quantity.partition("=") for quantity in quantities)
        charged = Usage(**{meter: int(quantity) for meter, _, quantity in pairs})
    except (ValueError, TypeError):
        raise UnpricedModel(f"The corrected charge '{outcome.corrected}' cannot be read.") from None
    return (attempt.price_version, outcome.usage + charged), (before, NOTHING_USED - charged)
