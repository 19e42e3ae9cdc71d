"""What a tenant has used in a period, and its entries."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from itertools import chain
from typing import Any, TypeAlias

from shared.application.ports.ledger import Ledger, RollupStore
from shared.application.ports.tenancy import TenantDirectory
from shared.domain.billing.statements import utilization_percent
from shared.domain.errors import InvalidRequest, LedgerUnavailable, NotFound
from shared.domain.ledger.balance import Balance, Lane, LaneState
from shared.domain.ledger.entries import LedgerEntry
from shared.domain.ledger.lanes import combined
from shared.domain.ledger.rollup import Rollup, RollupKey, rolled_up
from shared.domain.pricing.money import usd
from shared.domain.tenancy.tenant import Tenant
from shared.domain.values import value

GROUPS: dict[str, Callable[[RollupKey], str]] = {
    "deployment": lambda key: key.deployment,
    "user": lambda key: key.user,
    "day": lambda key: key.day,
}
_ATTEMPTS_ON_MOVING_WATERMARK = 5

EntryCursor: TypeAlias = Mapping[int, int]
"""Of each lane, the number that the entries of the next page are below."""


@value
class EntryFilter:
    """Which entries to list; times are RFC 3339 in UTC, `[start, end)`."""

    start: str = ""
    end: str = "~"
    user: str | None = None

    def accepts(self, entry: LedgerEntry) -> bool:
        user = entry.attempt.user if entry.attempt else None
        return self.start <= entry.timestamp < self.end and self.user in (None, user)


class ReportUsage:
    """Reads a tenant's balance, its rollups, and the entries that are not rolled up yet."""

    def __init__(self, ledger: Ledger, rollups: RollupStore, tenants: TenantDirectory) -> None:
        self._ledger = ledger
        self._rollups = rollups
        self._tenants = tenants

    async def usage(self, tenant_id: str, period: str, group_by: Collection[str]) -> dict[str, Any]:
        """The report of api.md: totals, and a list for each group. A period without requests reports zeros."""
        tenant = await self._tenant(tenant_id)
        balances = await self._ledger.balances(tenant_id, period)
        total, groups = await self._sums(balances, group_by)
        lists = {
            f"{group}s": [_identity(group, *key) | _document(sums) for key, sums in sorted(found.items())]
            for group, found in groups.items()
        }
        balance = combined([*balances.values()]) if balances else None
        return _report(tenant, period, balance, total) | lists

    async def entries(
        self, tenant_id: str, period: str, chosen: EntryFilter, cursor: EntryCursor | None, limit: int
    ) -> tuple[list[tuple[Lane, LedgerEntry]], EntryCursor | None]:
        """At most `limit` entries of all lanes, newest first, and the cursor of the next page."""
        await self._tenant(tenant_id)
        balances = await self._ledger.balances(tenant_id, period)
        below = {lane: (cursor or {}).get(lane.number, balance.seq + 1) for lane, balance in balances.items()}
        newest = {lane: self._newest_first(lane, below[lane], limit) for lane in below}
        heads = {lane: await anext(entries, None) for lane, entries in newest.items()}
        found: list[tuple[Lane, LedgerEntry]] = []
        while waiting := {lane: head for lane, head in heads.items() if head is not None}:
            lane = max(waiting, key=lambda lane: waiting[lane].timestamp)
            if chosen.accepts(waiting[lane]):
                if len(found) == limit:
                    return found, {lane.number: seq for lane, seq in below.items()}
                found.append((lane, waiting[lane]))
            below[lane] = waiting[lane].seq
            heads[lane] = await anext(newest[lane], None)
        return found, None

    async def _newest_first(self, lane: Lane, below: int, page: int) -> AsyncIterator[LedgerEntry]:
        while below > 1:
            first = max(1, below - page)
            for entry in reversed([entry async for entry in self._ledger.entries(lane, first, below - 1)]):
                yield entry
            below = first

    async def _sums(
        self, balances: Mapping[Lane, Balance], group_by: Collection[str]
    ) -> tuple[Rollup, dict[str, dict[tuple[str, str], Rollup]]]:
        unknown = [group for group in group_by if group not in GROUPS]
        if unknown:
            raise InvalidRequest(f"'group_by' takes {', '.join(GROUPS)}.", "group_by")
        total = Rollup()
        groups: dict[str, dict[tuple[str, str], Rollup]] = {group: {} for group in ("deployment", *group_by)}
        lanes = await asyncio.gather(*(self._rolled_up(lane, balance.seq) for lane, balance in balances.items()))
        for key, sums in chain.from_iterable(lanes):
            total += sums
            for group, found in groups.items():
                name = (GROUPS[group](key), key.model if group == "deployment" else "")
                found[name] = found.get(name, Rollup()) + sums
        return total, groups

    async def _rolled_up(self, lane: Lane, last: int) -> list[tuple[RollupKey, Rollup]]:
        """All sums of a lane up to entry `last`: rollups, and the short tail that is not among them yet."""
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


def _identity(group: str, value: str, model: str) -> dict[str, object]:
    return {group: value, "model": model} if model else {group: value}


def _document(sums: Rollup) -> dict[str, object]:
    return {
        "requests": sums.requests,
        "input_tokens": sums.usage.input_tokens,
        "cached_input_tokens": sums.usage.cached_input,
        "output_tokens": sums.usage.output_tokens,
        "total_tokens": sums.tokens,
        "cost_usd": usd(sums.cost_pusd),
        "content_filter": _by_category(sums),
    }


def _report(tenant: Tenant, period: str, balance: Balance | None, total: Rollup) -> dict[str, Any]:
    limit = balance.limit if balance else tenant.limit
    used = balance.used.tokens if balance else 0
    return {
        "tenant_id": tenant.tenant_id,
        "tenant_name": tenant.name,
        "cost_center": tenant.cost_center,
        "period": period,
        "period_state": (balance.state if balance else LaneState.OPEN).lower(),
        "tokens_used": used,
        "tokens_reserved": balance.reserved.tokens if balance else 0,
        "quota_tokens": limit.tokens,
        "utilization_percent": utilization_percent(used, limit.tokens),
        "total_cost_usd": usd(balance.used.pusd if balance else 0),
        "budget_usd": None if limit.pusd is None else usd(limit.pusd),
        "requests": total.requests,
        "failed_requests": total.failed_requests,
        "estimated_tokens": total.estimated_tokens,
        "content_filter_flags": total.content_filter_flags,
        "content_filter": _by_category(total),
    }


def _by_category(sums: Rollup) -> dict[str, dict[str, int]]:
    """What the content filter found: how many requests by category and severity or verdict."""
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    for finding, count in sorted(sums.findings.items()):
        category, _, what = finding.partition(":")
        counts[category][what] = count
    return counts
