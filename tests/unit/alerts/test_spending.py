"""Rules about usage: thresholds, forecasts, anomalies."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from shared.domain.alerts.spending import Forecast, forecast, highest_crossed, unusual_from

NOON = datetime(2026, 11, 16, 12, tzinfo=UTC)
"""Half of November's 30 days, and half a day, have passed."""


@pytest.mark.parametrize(
    ("used", "limit", "crossed"),
    [(49, 100, None), (50, 100, 50), (79, 100, 50), (80, 100, 80), (100, 100, 100), (250, 100, 100), (1, 3, None)],
)
def test_the_highest_threshold_that_is_reached_counts(used: int, limit: int, crossed: int | None) -> None:
    assert highest_crossed(used, limit, (50, 80, 100)) == crossed


def test_without_a_limit_or_thresholds_there_is_nothing_to_reach() -> None:
    assert highest_crossed(10**18, None, (50,)) is None
    assert highest_crossed(10**18, 1, ()) is None
    assert highest_crossed(10**18, 0, ()) is None


def test_any_use_exceeds_a_limit_of_0_and_no_use_does_not() -> None:
    assert highest_crossed(1, 0, (50, 200, 100)) == 200
    assert highest_crossed(0, 0, (50, 100)) is None


def days(amount: int, *, before: datetime = NOON, count: int = 40) -> dict[date, int]:
    return {before.date() - timedelta(days=each): amount for each in range(1, count)}


def test_the_pace_of_the_last_seven_days_decides() -> None:
    # 6.5 days with 650 in all: 100 a day for the 14.5 days that are left
    by_day = {**days(5000), **days(100, count=7), NOON.date(): 50}
    assert forecast(2000, by_day, 10_000, NOON) == Forecast(3450, None)
    assert forecast(2000, by_day, 3000, NOON) == Forecast(3450, date(2026, 11, 26))


def test_a_limit_that_is_reached_has_no_day() -> None:
    assert forecast(100, days(100), 100, NOON) == Forecast(100 + 600 * 29 // 13, None)


def test_without_recent_usage_nothing_is_added() -> None:
    assert forecast(2000, {}, 3000, NOON) == Forecast(2000, None)


def test_the_first_three_days_say_nothing_and_then_only_this_period_counts() -> None:
    at = datetime(2026, 11, 3, 23, 59, 59, tzinfo=UTC)
    by_day = days(1000, before=datetime(2026, 11, 1, tzinfo=UTC))
    assert forecast(10, by_day, 100, at) is None
    assert forecast(0, by_day, 100, at + timedelta(seconds=1)) == Forecast(0, None)
    by_day[date(2026, 11, 2)] = 30
    assert forecast(30, by_day, 100, at + timedelta(seconds=1)) == Forecast(300, date(2026, 11, 11))


def test_the_last_second_of_a_period_has_a_forecast() -> None:
    at = datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC)
    assert forecast(90, {at.date(): 90}, 100, at) == Forecast(90, None)


EARLY, DAY = date(2020, 1, 1), NOON.date()


def test_a_day_is_unusual_beyond_three_standard_deviations_of_the_fourteen_before() -> None:
    steady = days(100)
    assert unusual_from(steady, DAY, EARLY, 0) == 100
    uneven = {DAY - timedelta(days=each): 100 + (20 if each % 2 else -20) for each in range(1, 15)}
    assert unusual_from(uneven, DAY, EARLY, 0) == 160


def test_small_amounts_and_new_tenants_are_not_unusual() -> None:
    assert unusual_from(days(100), DAY, EARLY, 5000) == 5000
    assert unusual_from({}, DAY, EARLY, 10) == 10
    assert unusual_from(days(100), DAY, DAY - timedelta(days=6), 0) is None
    assert unusual_from(days(100), DAY, DAY - timedelta(days=7), 0) == 100
