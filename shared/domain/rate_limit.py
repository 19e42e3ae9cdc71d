"""Requests and tokens per minute by GCRA, the generic cell rate algorithm: two numbers of state, no window to reset.

What is admitted is the upper bound that is reserved, as Azure OpenAI itself counts. A tenant that was idle may use a
whole minute's worth at once; after that it is served at its rate.
https://learn.microsoft.com/azure/ai-services/openai/how-to/quota (how rate limits are counted)
"""

from __future__ import annotations

from datetime import datetime

from shared.domain.values import value

_MINUTE = 60_000_000
"""In microseconds, as all times here."""


@value
class RateLimits:
    """A tenant's limits a minute; `None` means none."""

    requests: int | None = None
    tokens: int | None = None


@value
class Arrivals:
    """The state: when all that was admitted would have been served at the limit's rate, in microseconds since 1970."""

    requests: int = 0
    tokens: int = 0

    def after(self, limits: RateLimits, tokens: int, now: datetime) -> Arrivals:
        """The state after one more request that may use `tokens`."""
        moment = _microseconds(now)
        return Arrivals(
            _arrival(self.requests, 1, limits.requests, moment), _arrival(self.tokens, tokens, limits.tokens, moment)
        )

    def wait_seconds(self, now: datetime) -> float:
        """How long until this state is admissible; zero or less if it is now."""
        return (max(self.requests, self.tokens) - _microseconds(now) - _MINUTE) / 1_000_000


@value
class RateStatus:
    """What one limit has left, for `x-ratelimit-*`. `reset_seconds` is when all of it is available again."""

    unit: str
    limit: int
    remaining: int
    reset_seconds: float


def rate_status(limits: RateLimits, arrivals: Arrivals, now: datetime) -> list[RateStatus]:
    """One for each limit that the tenant has."""
    moment = _microseconds(now)
    return [
        _status(unit, limit, arrival - moment)
        for unit, limit, arrival in (
            ("requests", limits.requests, arrivals.requests),
            ("tokens", limits.tokens, arrivals.tokens),
        )
        if limit is not None
    ]


def _status(unit: str, limit: int, ahead: int) -> RateStatus:
    ahead = max(0, ahead)
    return RateStatus(unit, limit, max(0, (_MINUTE - ahead) * limit // _MINUTE), ahead / 1_000_000)


def _arrival(arrival: int, cost: int, per_minute: int | None, moment: int) -> int:
    if per_minute is None:
        return 0
    return max(arrival, moment) - (-cost * _MINUTE // per_minute)


def _microseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)
