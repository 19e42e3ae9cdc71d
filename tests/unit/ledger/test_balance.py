"""A balance admits a reservation within the limits in both units."""

from __future__ import annotations

import pytest

from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.ledger.balance import Balance, LaneState, Refusal
from shared.domain.pricing.money import (
    MAX_PERIOD_PUSD,
)


@pytest.mark.parametrize(
    ("balance", "amount", "refusal"),
    [
        (Balance(head="", limit=Limit(10), used=Amount(4), reserved=Amount(3)), Amount(3), None),
        (Balance(head="", limit=Limit(10), used=Amount(4), reserved=Amount(3)), Amount(4), Refusal.TOKENS),
        (Balance(head="", limit=Limit(None, 10), used=Amount(9, 4), reserved=Amount(9, 3)), Amount(9, 3), None),
        (
            Balance(head="", limit=Limit(None, 10), used=Amount(0, 4), reserved=Amount(0, 3)),
            Amount(0, 4),
            Refusal.MONEY,
        ),
        (Balance(head="", limit=Limit()), Amount(10**15, MAX_PERIOD_PUSD), None),
        (Balance(head="", limit=Limit()), Amount(0, MAX_PERIOD_PUSD + 1), Refusal.MONEY),
        (Balance(head="", limit=Limit(10), state=LaneState.CLOSING), Amount(1), Refusal.NOT_OPEN),
        (Balance(head="", limit=Limit(10), state=LaneState.CLOSED), Amount(1), Refusal.NOT_OPEN),
    ],
)
def test_admission_is_exact_in_both_units(balance: Balance, amount: Amount, refusal: Refusal | None) -> None:
    assert balance.refusal(amount) is refusal
