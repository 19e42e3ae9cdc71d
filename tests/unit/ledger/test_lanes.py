"""Amounts that lanes of a hot tenant transfer to each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.ledger.balance import Balance, LaneState
from shared.domain.ledger.lanes import available, combined, first_share, lane_limit, plan_pulls, shortage

amounts = st.builds(Amount, st.integers(0, 10**6), st.integers(0, 10**15))
NONE = Amount()


@given(amounts, amounts, st.dictionaries(st.integers(0, 64), amounts, max_size=6))
def test_pulls_cover_the_need_and_no_donor_gives_more_than_it_has(
    need: Amount, share: Amount, donors: dict[int, Amount]
) -> None:
    chosen = plan_pulls(need, share, donors)
    together = sum(donors.values(), NONE)
    assert bool(chosen) == (need != NONE and need.excess_over(together) == NONE)
    taken = sum((amount for _, amount in chosen), NONE)
    assert not chosen or need.excess_over(taken) == NONE
    assert all(amount.excess_over(donors[number]) == NONE for number, amount in chosen)
    assert len({number for number, _ in chosen}) == len(chosen)


@pytest.mark.parametrize(
    ("need", "share", "donors", "chosen"),
    [
        (10, 0, {0: 800, 1: 900}, [(0, 100)]),  # an eighth of the vault
        (10, 300, {0: 800}, [(0, 300)]),  # the first share of the limit
        (10, 900, {0: 800}, [(0, 800)]),
        (200, 0, {0: 800}, [(0, 200)]),
        (10, 300, {0: 5, 2: 40, 1: 80}, [(1, 10)]),  # the other lane with the most available, without a first share
        (10, 300, {0: 5, 1: 160}, [(1, 20)]),
        (10, 0, {0: 5, 1: 3, 2: 4}, [(0, 5), (2, 4), (1, 1)]),  # parts from all of them
        (13, 0, {0: 5, 1: 3, 2: 4}, []),
        (1, 0, {}, []),
    ],
)
def test_one_donor_gives_all_if_it_can_else_all_give_parts(
    need: int, share: int, donors: dict[int, int], chosen: list[tuple[int, int]]
) -> None:
    found = plan_pulls(Amount(need), Amount(share), {number: Amount(tokens) for number, tokens in donors.items()})
    assert found == [(number, Amount(tokens)) for number, tokens in chosen]


def test_both_units_must_be_covered() -> None:
    assert plan_pulls(Amount(5, 5), NONE, {0: Amount(9, 4), 1: Amount(4, 9)}) == [(0, Amount(5, 4)), (1, Amount(0, 1))]
    assert plan_pulls(Amount(5, 5), NONE, {0: Amount(9, 4), 1: Amount(4, 0)}) == []


def test_available_and_shortage_count_only_limited_units() -> None:
    balance = Balance(
        head="h", limit=Limit(100, None), used=Amount(30, 7), reserved=Amount(20), transferred=Amount(-10, 3)
    )
    assert available(balance) == Amount(40, 0)
    assert shortage(balance, Amount(50, 10**20)) == Amount(10)
    assert shortage(balance, Amount(40)) == NONE
    dollars = Balance(head="h", limit=Limit(None, 100), used=Amount(30, 70), transferred=Amount(0, -50))
    assert available(dollars) == NONE
    assert shortage(dollars, Amount(5, 5)) == Amount(0, 25)
    balance.state = LaneState.CLOSING
    assert available(balance) == NONE


def test_half_of_the_limit_is_spread_over_the_lanes() -> None:
    assert first_share(Balance(head="h", limit=Limit(1000, 80)), 4) == Amount(125, 10)
    assert first_share(Balance(head="h", limit=Limit()), 4) == NONE
    assert lane_limit(Limit(5, None)) == Limit(0, None)
    assert lane_limit(Limit(None, 5)) == Limit(None, 0)


def test_lanes_together_are_one_balance() -> None:
    vault = Balance(
        head="v", limit=Limit(100, 9), used=Amount(10, 1), transferred=Amount(-40, -4), seq=3, open_reservations=1
    )
    lane = Balance(
        head="l",
        limit=Limit(0, 0),
        used=Amount(5),
        reserved=Amount(7),
        transferred=Amount(40, 4),
        seq=2,
        excess=Amount(1),
    )
    total = combined([vault, lane])
    assert (total.limit, total.used) == (Limit(100, 9), Amount(15, 1))
    assert (total.reserved, total.excess) == (Amount(7), Amount(1))
    assert (total.available_tokens, total.available_pusd) == (78, 8)
    assert (total.seq, total.open_reservations, vault.transferred) == (5, 1, Amount(-40, -4))
