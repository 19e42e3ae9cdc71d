"""The lanes that a sweep works on, and their names in its report."""

from __future__ import annotations

from collections.abc import AsyncIterator

from shared.application.ports.ledger import Ledger
from shared.application.sweep import Failures
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.balance import Lane


async def lanes_of(ledger: Ledger, *periods: BillingPeriod) -> AsyncIterator[Lane]:
    """Yield the registered lanes of some periods. If one period cannot be listed, the others are.

    Raises `SweepFailed` at the end.
    """
    failures = Failures()
    for period in periods:
        with failures.collected(str(period)):
            async for lane in ledger.lanes(str(period)):
                yield lane
    failures.raise_any()


async def vaults_of(ledger: Ledger, *periods: BillingPeriod) -> AsyncIterator[Lane]:
    """Yield the vault of each tenant that has a lane in some periods. Raises `SweepFailed` at the end."""
    last: Lane | None = None
    async for lane in lanes_of(ledger, *periods):
        if lane.vault != last:
            last = lane.vault
            yield last


def lane_name(lane: Lane) -> str:
    """Return the name of a lane, for example `2026-11|acme|00`. Names sort by period, tenant and number."""
    return f"{lane.period}|{lane.tenant_id}|{lane.number:02}"
