"""Expire reservations past their deadline, whose process has died, so that no hold stays for ever."""

from __future__ import annotations

from dataclasses import replace

from shared.application.cached_value import Cached
from shared.application.ledger.swept_lanes import lane_name, lanes_of
from shared.application.ports.clock import Clock
from shared.application.ports.ledger import Ledger
from shared.application.ports.tenancy import TenantDirectory
from shared.application.sweep import Failures, Sweep
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

    def __init__(
        self, tenants: TenantDirectory, ledger: Ledger, prices: Cached[PriceBook], clock: Clock, sweep: Sweep
    ) -> None:
        self._tenants = tenants
        self._ledger = ledger
        self._prices = prices
        self._clock = clock
        self._sweep = sweep

    async def __call__(self) -> int:
        """Expire reservations of the current and the previous period. Returns the number past their deadline.

        Lanes and reservations that fail are left for the next run. Raises `SweepFailed` once all others are done.
        """
        current = BillingPeriod.containing(self._clock.now())
        lanes = lanes_of(self._ledger, current.previous(), current)
        return (await self._sweep("expire_reservations", lanes, self.lane, lane_name)).done

    async def lane(self, lane: Lane) -> int:
        """Expire the reservations of one lane. Returns the number past their deadline. Raises `SweepFailed`."""
        now, due, failures = timestamp(self._clock.now()), list[Reservation](), Failures()
        with failures.collected("the list"):
            async for held in self._ledger.reservations(lane):
                if held.deadline < now:
                    due.append(held)
        if due:
            tenant = await self._tenants.get(lane.tenant_id)
            policy = tenant.value.expiry_policy if tenant else ExpiryPolicy.INPUT
            for reservation in due:
                with failures.collected(reservation.rid):
                    await self._ledger.expire(reservation, await self._outcome(reservation, policy))
        failures.raise_any()
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
