"""What a tenant has used in a period, and its entries."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from shared.application.cached import Cached
from shared.application.ports import Ledger, TenantDirectory
from shared.domain.billing import Tally, utilization_percent
from shared.domain.errors import InvalidRequest, NotFound
from shared.domain.ledger import Balance, LaneState, LedgerEntry
from shared.domain.money import usd
from shared.domain.pricing import PriceBook
from shared.domain.tenancy import Tenant
from shared.domain.usage import Usage
from shared.domain.values import value

GROUPS: dict[str, Callable[[LedgerEntry], str]] = {
    "deployment": lambda entry: entry.attempt.deployment if entry.attempt else "",
    "user": lambda entry: entry.attempt.user if entry.attempt else "",
    "day": lambda entry: entry.timestamp[:10],
}


@dataclass(slots=True)
class _Sums:
    tally: Tally
    usage: Usage = Usage()

    def add(self, entry: LedgerEntry, usage: Usage) -> None:
        self.tally.add(entry)
        self.usage += usage

    def document(self) -> dict[str, object]:
        return {
            "requests": self.tally.requests,
            "input_tokens": self.usage.input_tokens,
            "cached_input_tokens": self.usage.cached_input,
            "output_tokens": self.usage.output_tokens,
            "total_tokens": self.tally.tokens,
            "cost_usd": usd(self.tally.cost_pusd),
        }


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
    """Reads a tenant's balance and entries."""

    def __init__(self, ledger: Ledger, tenants: TenantDirectory, prices: Cached[PriceBook]) -> None:
        self._ledger = ledger
        self._tenants = tenants
        self._prices = prices

    async def usage(self, tenant_id: str, period: str, group_by: Collection[str]) -> dict[str, Any]:
        """The report of api.md: totals, and a list for each group. A period without requests reports zeros."""
        tenant = await self._tenant(tenant_id)
        balance = await self._ledger.balance(tenant_id, period)
        total, groups = await self._sums(tenant_id, period, balance, group_by)
        lists = {
            f"{group}s": [_identity(group, *key) | sums.document() for key, sums in sorted(found.items())]
            for group, found in groups.items()
        }
        return _report(tenant, period, balance, total) | lists

    async def entries(
        self, tenant_id: str, period: str, chosen: EntryFilter, cursor: int | None, limit: int
    ) -> tuple[list[LedgerEntry], int | None]:
        """At most `limit` entries below number `cursor`, newest first, and the cursor of the next page."""
        await self._tenant(tenant_id)
        balance = await self._ledger.balance(tenant_id, period)
        below = (balance.seq if balance else 0) + 1 if cursor is None else cursor
        found: list[LedgerEntry] = []
        while below > 1:
            first = max(1, below - limit)
            window = [entry async for entry in self._ledger.entries(tenant_id, period, first, below - 1)]
            for entry in reversed(window):
                if chosen.accepts(entry):
                    if len(found) == limit:
                        return found, found[-1].seq
                    found.append(entry)
            below = first
        return found, None

    async def _sums(
        self, tenant_id: str, period: str, balance: Balance | None, group_by: Collection[str]
    ) -> tuple[Tally, dict[str, dict[tuple[str, str], _Sums]]]:
        unknown = [group for group in group_by if group not in GROUPS]
        if unknown:
            raise InvalidRequest(f"'group_by' takes {', '.join(GROUPS)}.", "group_by")
        prices = await self._prices.get()
        total = Tally(prices)
        groups: dict[str, dict[tuple[str, str], _Sums]] = {group: {} for group in ("deployment", *group_by)}
        async for entry in self._ledger.entries(tenant_id, period, 1, balance.seq if balance else 0):
            total.add(entry)
            if entry.attempt is None or entry.outcome is None:
                continue
            for group, found in groups.items():
                key = (GROUPS[group](entry), entry.attempt.model if group == "deployment" else "")
                found.setdefault(key, _Sums(Tally(prices))).add(entry, entry.outcome.usage)
        return total, groups

    async def _tenant(self, tenant_id: str) -> Tenant:
        found = await self._tenants.get(tenant_id)
        if found is None:
            raise NotFound(f"No tenant '{tenant_id}' is registered.")
        return found.value


def _identity(group: str, value: str, model: str) -> dict[str, object]:
    return {group: value, "model": model} if model else {group: value}


def _report(tenant: Tenant, period: str, balance: Balance | None, total: Tally) -> dict[str, Any]:
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
    }
