"""The lines of a statement add up to its totals."""

from __future__ import annotations

import pytest

from shared.domain.billing.statements import Tally, cost_centers, statement, utilization_percent
from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.ledger.balance import Balance
from shared.domain.ledger.entries import EntryKind, LedgerEntry, Outcome
from shared.domain.pricing.price_book import (
    PriceBook,
)
from shared.domain.pricing.usage import Usage
from tests.tools.ledgers import PRICES, attempt


def test_a_statement_adds_up() -> None:
    tally = Tally(PriceBook(PRICES))
    charge = Outcome(
        kind=EntryKind.CHARGE,
        amount=Amount(30, 175 * 10**6),
        usage=Usage(input=10, cached_input=5, output=15),
        status=200,
    )
    failed = Outcome(kind=EntryKind.VOID, status=500)
    for outcome in (charge, charge, failed):
        tally.add(
            LedgerEntry(
                seq=1,
                kind=outcome.kind,
                timestamp="t",
                commit_id="c",
                rid="r",
                amount=outcome.amount,
                attempt=attempt(),
                outcome=outcome,
            )
        )
    late = Outcome(kind=EntryKind.LATE, amount=Amount(), usage=Usage(), status=200)
    tally.add(
        LedgerEntry(seq=4, kind=EntryKind.LATE, timestamp="t", commit_id="c", rid="r", attempt=attempt(), outcome=late)
    )
    tally.add(LedgerEntry(seq=5, kind=EntryKind.CLOSE, timestamp="t", commit_id="c"))
    balance = Balance(head="head", limit=Limit(100, None), used=Amount(60, tally.sums.cost_pusd), seq=4)
    bill = statement("acme", "Acme", "CC-1", {}, balance, {"00": "head"}, tally)
    assert sum(line.cost_pusd for line in bill.lines) == sum(
        line.quantity * rate for line, rate in zip(bill.lines, (2_500_000, 2_500_000, 10_000_000), strict=True)
    )
    assert sum(line.cost_cents for line in bill.lines) == bill.cost_cents
    assert (bill.requests, bill.failed_requests, bill.tokens_used) == (3, 1, 60)
    assert cost_centers([bill, bill]) == {"CC-1": 2 * bill.cost_cents}


@pytest.mark.parametrize(("used", "quota", "percent"), [(5, None, None), (5, 0, 100.0), (1, 3, 33.3), (0, 9, 0.0)])
def test_utilization_is_a_percentage_of_the_quota(used: int, quota: int | None, percent: float | None) -> None:
    assert utilization_percent(used, quota) == percent
