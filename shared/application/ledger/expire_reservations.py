"""Expire reservations past their deadline, whose process has died, so that no hold stays for ever."""

from __future__ import annotations

from dataclasses import replace

from shared.application.cached_value import Cached
from shared.application.ports.clock import Clock
from shared.application.ports.ledger import Ledger
from shared.application.ports.tenancy import TenantDirectory
from shared.domain.errors import UnpricedModel
from shared.domain.identifiers import BillingPeriod, timestamp
from shared.domain.ledger.amounts import Amount
from shared.domain.ledger.balance import Lane
from shared.domain.ledger.entries import EntryKind, ExpiryPolicy, Outcome, Reservation
from shared.domain.pricing.price_book import PriceBook
from shared.domain.pricing.usage import NOTHING_USED, Usage


class ExpireReservations:
    """The use case of the timer `expire_reservations`. A late settlement corrects its charges.

    Running late, twice or concurrently is harmless.
    """

    def __init__(self, tenants: TenantDirectory, ledger: Ledger, prices: Cached[PriceBook], clock: Clock) -> None:
        self._tenants = tenants
        self._ledger = ledger
        self._prices = prices
        self._clock = clock

    async def __call__(self) -> int:
        """Expire reservations of the current and the previous period. Returns the number past their deadline.

        Raises `LedgerUnavailable`. If the prices of a reservation are missing, expires all others, and then raises
        `UnpricedModel`.
        """
        current = BillingPeriod.containing(self._clock.now())
        return sum([await self.sweep(str(period)) for period in (current.previous(), current)])

    async def sweep(self, period: str, tenant_id: str | None = None) -> int:
        """Expire reservations of one period, or of one tenant in it. Returns and raises the same as a call."""
        unpriced: list[UnpricedModel] = []
        swept = [await self._sweep_lane(lane, unpriced) async for lane in self._ledger.lanes(period, tenant_id)]
        if unpriced:
            raise unpriced[0]
        return sum(swept)

    async def _sweep_lane(self, lane: Lane, unpriced: list[UnpricedModel]) -> int:
        now = timestamp(self._clock.now())
        due = [held async for held in self._ledger.reservations(lane) if held.deadline < now]
        if due:
            tenant = await self._tenants.get(lane.tenant_id)
            policy = tenant.value.expiry_policy if tenant else ExpiryPolicy.INPUT
            for reservation in due:
                try:
                    await self._ledger.expire(reservation, await self._outcome(reservation, policy))
                except UnpricedModel as error:
                    unpriced.append(error)
        return len(due)

    async def _outcome(self, reservation: Reservation, policy: ExpiryPolicy) -> Outcome:
        usage = _charged(reservation, policy)
        rate_card = (await self._prices.get()).of_version(reservation.attempt.price_version)
        amount = Amount(usage.total_tokens, rate_card.cost(usage))
        return Outcome(kind=EntryKind.EXPIRE, amount=amount, usage=usage, error_code="expired", estimated=True)


def _charged(reservation: Reservation, policy: ExpiryPolicy) -> Usage:
    """Return the part of a hold that the policy charges: nothing, the input, or all of it."""
    if policy is ExpiryPolicy.NONE:
        return NOTHING_USED
    if policy is ExpiryPolicy.INPUT:
        return replace(reservation.units, input=reservation.input_tokens, images=0)
    return replace(reservation.units, input=reservation.input_tokens, output=reservation.output_tokens)
