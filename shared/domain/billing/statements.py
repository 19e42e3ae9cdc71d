"""Statements of a period. Sums are exact and rounded to cents once, so that lines add up to totals."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from shared.domain.ledger.balance import Balance
from shared.domain.ledger.entries import LedgerEntry
from shared.domain.ledger.rollup import Rollup, sums_of
from shared.domain.pricing.money import allocate_cents, cents
from shared.domain.pricing.price_book import PriceBook
from shared.domain.pricing.usage import METERS, Meter
from shared.domain.values import record

LineKey = tuple[str, str, str]
"""Deployment, model, meter."""


@record
class StatementLine:
    """A tenant's consumption of one meter, of one model under one deployment name."""

    deployment: str
    model: str
    meter: str
    quantity: int
    cost_pusd: int
    cost_cents: int


@record
class Statement:
    """One tenant's bill for a period. `cost_cents` is the exact cost rounded half-even; lines add up to it."""

    tenant_id: str
    tenant_name: str
    cost_center: str
    tags: Mapping[str, str]
    requests: int
    failed_requests: int
    tokens_used: int
    quota_tokens: int | None
    budget_pusd: int | None
    estimated_tokens: int
    content_filter_flags: int
    cost_pusd: int
    cost_cents: int
    chain_heads: Mapping[str, str]
    entries: int
    lines: tuple[StatementLine, ...]


@dataclass(slots=True)
class Tally:
    """Sums over ledger entries, which are added one at a time."""

    prices: PriceBook
    sums: Rollup = Rollup()
    quantities: Counter[LineKey] = field(default_factory=Counter)
    costs: dict[LineKey, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, entry: LedgerEntry) -> None:
        """Add one entry. Late entries and adjustments hold differences, so that plain sums are right."""
        attempt, outcome = entry.attempt, entry.outcome
        if attempt is None or outcome is None:
            return
        self.sums += sums_of(entry, outcome)
        rate_card = self.prices.of_version(attempt.price_version)
        for meter, quantity, price in zip(METERS, outcome.usage.buckets, rate_card.pusd_per_unit, strict=True):
            if quantity:
                name = f"{meter} {attempt.variant}" if meter is Meter.IMAGES and attempt.variant else str(meter)
                key = (attempt.deployment, attempt.model, name)
                self.quantities[key] += quantity
                self.costs[key] += quantity * price

    def lines(self) -> tuple[StatementLine, ...]:
        """Return the lines in the order of their keys. Their cents add up to the rounded total."""
        allocated = allocate_cents(self.costs)
        return tuple(
            StatementLine(
                deployment=deployment,
                model=model,
                meter=meter,
                quantity=self.quantities[key],
                cost_pusd=self.costs[key],
                cost_cents=allocated[key],
            )
            for key in sorted(self.costs)
            for deployment, model, meter in (key,)
        )


def statement(
    tenant_id: str,
    tenant_name: str,
    cost_center: str,
    tags: Mapping[str, str],
    balance: Balance,
    chain_heads: Mapping[str, str],
    tally: Tally,
) -> Statement:
    """Build a statement from the tally of all entries and the final balance.

    `chain_heads` gives the last hash of each lane, by lane.
    """
    return Statement(
        tenant_id=tenant_id,
        tenant_name=tenant_name,
        cost_center=cost_center,
        tags=tags,
        requests=tally.sums.requests,
        failed_requests=tally.sums.failed_requests,
        tokens_used=balance.used.tokens,
        quota_tokens=balance.limit.tokens,
        budget_pusd=balance.limit.pusd,
        estimated_tokens=tally.sums.estimated_tokens,
        content_filter_flags=tally.sums.content_filter_flags,
        cost_pusd=tally.sums.cost_pusd,
        cost_cents=cents(tally.sums.cost_pusd),
        chain_heads=chain_heads,
        entries=balance.seq,
        lines=tally.lines(),
    )


def cost_centers(statements: Iterable[Statement]) -> dict[str, int]:
    """Sum the cents of statements by cost center, in the order of names."""
    totals: Counter[str] = Counter()
    for bill in statements:
        totals[bill.cost_center] += bill.cost_cents
    return dict(sorted(totals.items()))


def utilization_percent(used: int, quota: int | None) -> float | None:
    """Return the used part of a quota in percent, with one decimal. `None` without a quota; 100 for a quota of 0."""
    if quota is None:
        return None
    return round(100 * used / quota, 1) if quota else 100.0
