"""Limits of requests and tokens per minute are exact, have no window, and need no storage operation."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.errors import RateLimitExceeded
from shared.domain.ledger.amounts import Limit
from shared.domain.ledger.balance import Account
from shared.domain.rate_limit import Arrivals, LimitStatus, RateLimits, limit_status
from tests.tools.ledgers import NOW, PERIOD, reservation
from tests.unit.ledger.test_committer import Books


def rated(requests: int | None = None, tokens: int | None = None) -> Account:
    return Account(tenant_id="acme", period=PERIOD, limit=Limit(), rate_limits=RateLimits(requests, tokens))


async def refusal(books: Books, account: Account) -> RateLimitExceeded:
    with pytest.raises(RateLimitExceeded) as refused:
        await books.ledger.reserve(account, reservation())
    return refused.value


async def test_retry_after_is_exact_to_the_millisecond() -> None:
    books, account = Books(), rated(requests=3)
    for _ in range(3):
        await books.ledger.reserve(account, reservation())
    wait = (await refusal(books, account)).retry_after_seconds
    assert wait == 20
    books.clock.seconds += wait - 0.001
    assert (await refusal(books, account)).retry_after_seconds == pytest.approx(0.001)
    books.clock.seconds += 0.001
    await books.ledger.reserve(account, reservation())
    await refusal(books, account)
    await books.check()


async def test_tokens_count_as_reserved() -> None:
    books, account = Books(), rated(tokens=60)
    for _ in range(2):
        await books.ledger.reserve(account, reservation(input_tokens=10, output_tokens=20))
    refused = await refusal(books, account)
    assert refused.retry_after_seconds == 30
    assert refused.limit_status == [LimitStatus(unit="tokens", limit=60, remaining=0, reset_seconds=60.0)]


async def test_all_processes_share_one_state() -> None:
    books, account = Books(), rated(requests=2)
    await books.ledger.reserve(account, reservation())
    await books.other.reserve(account, reservation())
    await refusal(books, account)


async def test_a_rate_limit_needs_no_storage_operation() -> None:
    books = Books()
    await books.ledger.reserve(rated(), reservation())
    before = books.faulty.submits
    await books.ledger.reserve(rated(requests=10, tokens=1000), reservation())
    assert books.faulty.submits == before + 1


async def test_a_changed_limit_applies_to_the_next_request() -> None:
    books = Books()
    await books.ledger.reserve(rated(requests=1), reservation())
    assert (await refusal(books, rated(requests=1))).retry_after_seconds == 60
    assert (await refusal(books, rated(requests=2))).retry_after_seconds == 30
    await books.ledger.reserve(rated(), reservation())


@given(
    st.integers(1, 1000),
    st.lists(st.tuples(st.floats(0, 30), st.integers(1, 50)), min_size=1, max_size=60),
    st.sampled_from([1, 1, 3]),
)
def test_no_more_than_a_burst_and_the_rate_is_admitted(
    limit: int, arrivals: list[tuple[float, int]], lanes: int
) -> None:
    """At most `limit * (1 + t)` is admitted in the first t minutes, and the stated wait is exact."""
    limits, state, now, admitted = RateLimits(tokens=limit, lanes=lanes), Arrivals(), NOW, 0
    larger = 0 if lanes == 1 else 50
    for pause, tokens in arrivals:
        now += timedelta(seconds=pause)
        after, wait = state.admit(limits, tokens, now)
        if wait <= 0:
            state, admitted = after, admitted + tokens
            minutes = (now - NOW).total_seconds() / 60
            assert admitted <= limit / lanes * (1 + minutes) + 1 + larger
        elif tokens <= limit:
            later = now + timedelta(seconds=wait)
            assert state.admit(limits, tokens, later)[1] <= 1e-6
        (status,) = limit_status(limits, state, now)
        assert 0 <= status.remaining <= limit
        if status.remaining:
            assert state.admit(limits, status.remaining, now)[1] == 0


def test_a_request_larger_than_the_part_of_a_lane_is_served_once_the_lane_was_idle() -> None:
    limits = RateLimits(tokens=60, lanes=3)
    state, wait = Arrivals().admit(limits, 55, NOW)
    assert wait == 0
    assert state.admit(limits, 55, NOW)[1] == 165
    assert state.admit(limits, 55, NOW + timedelta(seconds=164.999))[1] == pytest.approx(0.001)
    assert state.admit(limits, 55, NOW + timedelta(seconds=165))[1] == 0


def test_a_tenant_without_limits_has_no_limit_status() -> None:
    assert limit_status(RateLimits(), Arrivals(), NOW) == []


def test_rounding_never_admits_more_than_the_limit() -> None:
    limits, state = RateLimits(requests=7), Arrivals()
    for _ in range(3):
        state, _ = state.admit(limits, 0, NOW)
    (status,) = limit_status(limits, state, NOW)
    assert status.reset_seconds >= 3 * 60 / 7
