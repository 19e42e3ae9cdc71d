"""Rules about usage: crossed thresholds, forecasts and anomalies. Amounts are tokens or pUSD, and always integers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta
from math import isqrt
from typing import Final

from shared.domain.identifiers import BillingPeriod
from shared.domain.values import value

_WINDOW_DAYS: Final = 7
_LEAST_ELAPSED: Final = timedelta(days=3)
"""The first days of a period say too little about its end."""
_HISTORY_DAYS: Final = 14
_LEAST_HISTORY: Final = 7
_SIGMAS: Final = 3


def highest_crossed(used: int, limit: int | None, thresholds: Iterable[int]) -> int | None:
    """Return the highest threshold, in percent, that is reached; `None` if none is, or there is no limit to reach.

    Any use exceeds a limit of 0. No use reaches none.
    """
    if limit is None or not used:
        return None
    return max((each for each in thresholds if used * 100 >= each * limit), default=None)


@value
class Forecast:
    """The usage at the end of a period at the present pace, and the day on which the limit is then reached."""

    total: int
    exhausted_on: date | None


def forecast(used: int, by_day: Mapping[date, int], limit: int, now: datetime) -> Forecast | None:
    """Project usage to the end of the current period; `None` in its first three days.

    The pace is the usage of today and the six days before, or since the period began, by the time that has passed.
    A limit that is reached already has no day.
    """
    period = BillingPeriod.containing(now)
    if now - period.start < _LEAST_ELAPSED:
        return None
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    since = max(period.start, midnight - timedelta(days=_WINDOW_DAYS - 1))
    recent = sum(amount for day, amount in by_day.items() if since.date() <= day <= now.date())
    elapsed, left = _seconds(now - since), _seconds(period.end - now)
    total = used + recent * left // elapsed
    if used >= limit or total <= limit:
        return Forecast(total, None)
    return Forecast(total, (now + timedelta(seconds=(limit - used) * elapsed // recent)).date())


def unusual_from(by_day: Mapping[date, int], day: date, first: date, floor: int) -> int | None:
    """Return the amount above which the usage of a day is an anomaly: mean and three standard deviations.

    They are those of the 14 days before, of which days before `first` do not count. `None` with fewer than 7 days.
    Never less than `floor`.
    """
    days = [day - timedelta(days=each) for each in range(1, _HISTORY_DAYS + 1)]
    history = [by_day.get(each, 0) for each in days if each >= first]
    if len(history) < _LEAST_HISTORY:
        return None
    return max(floor, _mean(history) + _SIGMAS * isqrt(_mean([(each - _mean(history)) ** 2 for each in history])))


def _mean(amounts: Sequence[int]) -> int:
    return sum(amounts) // len(amounts)


def _seconds(duration: timedelta) -> int:
    return int(duration.total_seconds())
