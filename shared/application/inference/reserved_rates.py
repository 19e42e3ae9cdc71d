"""The prices of a reservation whose request is over: those of its time, found again from what it stores."""

from __future__ import annotations

from datetime import datetime

from shared.domain.errors import UnpricedModel
from shared.domain.ledger.entries import Reservation
from shared.domain.pricing.damaged_price import PricesDamaged
from shared.domain.pricing.price_book import PriceBook, PriceKey
from shared.domain.pricing.rates import PriceFlag, Rates
from shared.domain.routing.catalog import Backend


def reserved_rates(reservation: Reservation, backend: Backend | None, book: PriceBook) -> Rates:
    """Return the prices that may apply to a reservation. Its own price version stays the price of its tier and band.

    A reservation of an earlier version stores no SKU, and has only its price version; so has one whose `backend` was
    removed. Raises `UnpricedModel` if the book lacks a row of that, and `PricesDamaged` if one of the prices that may
    apply is damaged: the settlement waits until it is repaired.
    """
    attempt = reservation.attempt
    held = book.of_version(attempt.price_version)
    if not attempt.sku or backend is None:
        return Rates.of_card(held)
    spillover = backend.spillover_deployment if attempt.spilled_to else None
    version = backend.model_version if spillover is None else spillover.model_version
    key = PriceKey(model=attempt.model, model_version=version, sku=attempt.sku, region=attempt.region)
    try:
        rates = book.rates(key, datetime.fromisoformat(reservation.created))
        # The price of the hold may be that of the deployment that did not serve.
        return rates if attempt.spilled_to else rates.with_card(held)
    except PricesDamaged:
        raise
    except UnpricedModel:  # the rows that applied name another model version than the backend has now
        return Rates.of_card(held)


def spill_flag(reservation: Reservation, backend: Backend | None) -> str:
    """Return the flag of a reservation that a deployment has served which its backend does not state; else nothing."""
    spilled_to = reservation.attempt.spilled_to
    stated = backend.spillover_deployment if backend is not None else None
    if not spilled_to or (stated is not None and stated.deployment == spilled_to):
        return ""
    return PriceFlag.UNCONFIGURED_SPILLOVER
