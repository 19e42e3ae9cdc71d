"""Statements of a period. Sums are exact and rounded to cents once, so that lines add up to totals."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from shared.domain.ledger.balance import Balance, Lane
from shared.domain.ledger.entries import Attempt, EntryKind, LedgerEntry
from shared.domain.ledger.entry_cost import charges
from shared.domain.ledger.rollup import Rollup, sums_of
from shared.domain.pricing.money import allocate_cents, cents
from shared.domain.pricing.price_book import PriceBook
from shared.domain.pricing.rate_card import RateCard
from shared.domain.pricing.usage import METERS, Meter, Usage
from shared.domain.values import record

LineKey = tuple[str, str, str, str]
"""Cost center, deployment, model, meter."""


@record
class StatementLine:
    """A tenant's consumption of one meter, of one model under one deployment name, charged to one cost center."""

    cost_center: str
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
    """The cost center of the latest entry. Each line names the one that it is charged to."""
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


@record
class PeriodStatements:
    """The statements of all tenants of a closed period.

    `cost_cents` is the sum of the statements' costs, and so is the sum of `cost_centers`, which is in cents by name.
    `closed_at` is the time of the last `close` entry.
    """

    period: str
    closed_at: str
    statements: tuple[Statement, ...]
    cost_centers: Mapping[str, int]
    cost_cents: int


@dataclass(slots=True)
class Tally:
    """Sums over a tenant's ledger entries, which are added one at a time, and facts of the latest ones."""

    prices: PriceBook
    sums: Rollup = field(default=Rollup(), init=False)
    quantities: Counter[LineKey] = field(default_factory=Counter, init=False)
    costs: dict[LineKey, int] = field(default_factory=lambda: defaultdict(int), init=False)
    cost_center: str = field(default="", init=False)
    """The cost center of the latest entry."""
    closed_at: str = field(default="", init=False)
    """The time of the latest `close` entry."""
    _latest: str = field(default="", init=False)

    def add(self, entry: LedgerEntry) -> None:
        """Add one entry. Late entries and adjustments hold differences, so that plain sums are right."""
        if entry.kind is EntryKind.CLOSE:
            self.closed_at = max(self.closed_at, entry.timestamp)
        attempt, outcome = entry.attempt, entry.outcome
        if attempt is None or outcome is None:
            return
        if entry.timestamp >= self._latest:
            self._latest, self.cost_center = entry.timestamp, attempt.cost_center
        self.sums += sums_of(entry, outcome)
        for version, usage in charges(attempt, outcome):
            self._add_charge(attempt, self.prices.of_version(version), usage)

    def _add_charge(self, attempt: Attempt, rate_card: RateCard, usage: Usage) -> None:
        """Add one charge to the lines of its meters. Service tiers and context bands have lines of their own."""
        model = attempt.model if rate_card.version == attempt.price_version else rate_card.model
        for meter, quantity, price in zip(METERS, usage.buckets, rate_card.pusd_per_unit, strict=True):
            if quantity:
                variant = attempt.variant if meter is Meter.IMAGES else ""
                name = " ".join(part for part in (meter, variant, rate_card.label) if part)
                key = (attempt.cost_center, attempt.deployment, model, name)
                self.quantities[key] += quantity
                self.costs[key] += quantity * price

    def lines(self) -> tuple[StatementLine, ...]:
        """Return the lines in the order of their keys. Their cents add up to the rounded total."""
        allocated = allocate_cents(self.costs)
        return tuple(
            StatementLine(
                cost_center=cost_center,
                deployment=deployment,
                model=model,
                meter=meter,
                quantity=self.quantities[key],
                cost_pusd=self.costs[key],
                cost_cents=allocated[key],
            )
            for key in sorted(self.costs)
            for cost_center, deployment, model, meter in (key,)
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


def chain_heads(balances: Mapping[Lane, Balance]) -> dict[str, str]:
    """Return each lane's last hash, by the lane's number in two digits."""
    return {f"{lane.number:02}": balance.head for lane, balance in balances.items()}


def period_statements(period: str, closed_at: str, statements: Iterable[Statement]) -> PeriodStatements:
    """Return the statements of a period with their totals."""
    statements = tuple(statements)
    return PeriodStatements(
        period=period,
        closed_at=closed_at,
        statements=statements,
        cost_centers=cost_centers(statements),
        cost_cents=sum(bill.cost_cents for bill in statements),
    )


def cost_centers(statements: Iterable[Statement]) -> dict[str, int]:
    """Sum the cents of the lines by cost center, in the order of names.

    The cost center of a tenant without lines gets nothing.
    """
    totals: Counter[str] = Counter()
    for bill in statements:
        totals[bill.cost_center] += 0
        for line in bill.lines:
            totals[line.cost_center] += line.cost_cents
    return dict(sorted(totals.items()))


def utilization_percent(used: int, quota: int | None) -> float | None:
    """Return the used part of a quota in percent, with one decimal. `None` without a quota; 100 for a quota of 0."""
    if quota is None:
        return None
    return round(100 * used / quota, 1) if quota else 100.0
