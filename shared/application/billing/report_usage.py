"""Report a tenant's usage in a period, and list its entries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping
from itertools import chain
from typing import TypeAlias

from shared.application.ports.clock import Clock
from shared.application.ports.ledger import Ledger, RollupStore
from shared.application.ports.tenancy import TenantDirectory
from shared.domain.billing.usage_report import Grouping, UsageReport, grouped, state_of, total_of
from shared.domain.errors import LedgerUnavailable, NotFound
from shared.domain.ledger.amounts import NOTHING
from shared.domain.ledger.balance import Lane
from shared.domain.ledger.entries import LedgerEntry
from shared.domain.ledger.lanes import combined
from shared.domain.ledger.rollup import Rollup, RollupKey, rolled_up
from shared.domain.tenancy.tenant import Tenant
from shared.domain.values import record, value

_ATTEMPTS_ON_MOVING_WATERMARK = 5

EntryCursor: TypeAlias = Mapping[int, int]
"""By lane, the number that the entries of the next page are below."""


@record
class EntryFilter:
    """The entries to list. Times are RFC 3339 in UTC, `[start, end)`."""

    start: str = ""
    end: str = "~"
    user: str | None = None
    application: str | None = None

    def accepts(self, entry: LedgerEntry) -> bool:
        """Return whether the entry is to be listed."""
        attempt = entry.attempt
        return (
            self.start <= entry.timestamp < self.end
            and self.user in (None, attempt.user if attempt else None)
            and self.application in (None, attempt.application if attempt else None)
        )


@value
class LaneEntry:
    """An entry and the lane that it is in."""

    lane: Lane
    entry: LedgerEntry


@value
class EntryPage:
    """Entries, newest first, and the cursor of the next page; `None` on the last."""

    entries: tuple[LaneEntry, ...]
    next_cursor: EntryCursor | None


class ReportUsage:
    """Reads a tenant's balance, its rollups, and the entries that are not rolled up yet."""

    def __init__(self, ledger: Ledger, rollups: RollupStore, tenants: TenantDirectory, clock: Clock) -> None:
        self._ledger = ledger
        self._rollups = rollups
        self._tenants = tenants
        self._clock = clock

    async def usage(self, tenant_id: str, period: str, group_by: Collection[Grouping]) -> UsageReport:
        """Report totals and sums by deployment and by each of `group_by`. A period without requests reports zeros.

        Raises `NotFound`, and `LedgerUnavailable` while the rollups change too fast to be read.
        """
        tenant = await self._tenant(tenant_id)
        balances = await self._ledger.balances(tenant_id, period)
        lanes = await asyncio.gather(*(self._rolled_up(lane, balance.seq) for lane, balance in balances.items()))
        rollups = [*chain.from_iterable(lanes)]
        balance = combined([*balances.values()]) if balances else None
        return UsageReport(
            tenant=tenant,
            period=period,
            state=state_of(balance, tenant, period, self._clock.now()),
            used=balance.used if balance else NOTHING,
            reserved=balance.reserved if balance else NOTHING,
            limit=balance.limit if balance else tenant.limit,
            total=total_of(sums for _, sums in rollups),
            groups={each: grouped(rollups, each) for each in (Grouping.DEPLOYMENT, *group_by)},
        )

    async def entries(
        self, tenant_id: str, period: str, chosen: EntryFilter, cursor: EntryCursor | None, limit: int
    ) -> EntryPage:
        """List at most `limit` entries of all lanes, newest first. Raises `NotFound`."""
        await self._tenant(tenant_id)
        balances = await self._ledger.balances(tenant_id, period)
        below = {lane: (cursor or {}).get(lane.number, balance.seq + 1) for lane, balance in balances.items()}
        newest = {lane: self._newest_first(lane, below[lane], limit) for lane in below}
        heads = {lane: await anext(entries, None) for lane, entries in newest.items()}
        found: list[LaneEntry] = []
        while waiting := {lane: head for lane, head in heads.items() if head is not None}:
            lane = max(waiting, key=lambda lane: waiting[lane].timestamp)
            if chosen.accepts(waiting[lane]):
                if len(found) == limit:
                    return EntryPage(tuple(found), {lane.number: seq for lane, seq in below.items()})
                found.append(LaneEntry(lane, waiting[lane]))
            below[lane] = waiting[lane].seq
            heads[lane] = await anext(newest[lane], None)
        return EntryPage(tuple(found), None)

    async def _newest_first(self, lane: Lane, below: int, page: int) -> AsyncIterator[LedgerEntry]:
        while below > 1:
            first = max(1, below - page)
            for entry in reversed([entry async for entry in self._ledger.entries(lane, first, below - 1)]):
                yield entry
            below = first

    async def _rolled_up(self, lane: Lane, last: int) -> list[tuple[RollupKey, Rollup]]:
        """Return all sums of a lane up to entry `last`: rollups, and the short tail that is not among them yet."""
        for _ in range(_ATTEMPTS_ON_MOVING_WATERMARK):
            mark = await self._rollups.watermark(lane)
            rows = [row async for row in self._rollups.rows(lane)]
            if (await self._rollups.watermark(lane)).seq == mark.seq:
                tail = [entry async for entry in self._ledger.entries(lane, mark.seq + 1, last)]
                return [*rows, *rolled_up(tail).items()]
        raise LedgerUnavailable("The usage is being rolled up. Ask again.")

    async def _tenant(self, tenant_id: str) -> Tenant:
        found = await self._tenants.get(tenant_id)
        if found is None:
            raise NotFound(f"No tenant '{tenant_id}' is registered.")
        return found.value
