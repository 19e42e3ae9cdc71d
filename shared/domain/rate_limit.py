"""Requests and tokens per minute by GCRA, the generic cell rate algorithm: two numbers of state, no window to reset.

What is admitted is the upper bound that is reserved, as Azure OpenAI itself counts. A tenant that was idle may use a
whole minute's worth at once; after that it is served at its rate. Where several lanes serve a tenant, each has an equal
part of the rate, and admits a request that is larger than its part once it has been idle for long enough.
https://learn.microsoft.com/azure/ai-services/openai/how-to/quota (how rate limits are counted)
"""

from __future__ import annotations

from datetime import datetime

from shared.domain.stored_fields import stored
from shared.domain.values import record, value

_MINUTE = 60_000_000
"""In microseconds, as all times here."""


@value
class RateLimits:
    """A tenant's limits a minute; `None` means none. `lanes` is how many share them evenly."""

    requests: int | None = None
    tokens: int | None = None
    lanes: int = 1


@value
class Arrivals:
    """The state: when all that was admitted would have been served at the limit's rate, in microseconds since 1970."""

    requests: int = stored("of requests", name="requests_arrival", int64=True, default=0)
    tokens: int = stored("of tokens", name="tokens_arrival", int64=True, default=0)

    def admit(self, limits: RateLimits, tokens: int, now: datetime) -> tuple[Arrivals, float]:
        """The state after one more request that may use `tokens`, and in how many seconds it may come: 0 for now."""
        if limits.requests is None and limits.tokens is None:
            return _UNLIMITED, 0.0
        moment = _microseconds(now)
        requests = _arrival(self.requests, limits.lanes, limits.requests, moment)
        arrival = _arrival(self.tokens, tokens * limits.lanes, limits.tokens, moment)
        wait = max(requests, arrival) - moment - _MINUTE
        if limits.lanes > 1:
            wait = min(wait, max(self.requests, self.tokens) - moment)
        return Arrivals(requests, arrival), max(0, wait) / 1_000_000


_UNLIMITED = Arrivals()


@record
class LimitStatus:
    """What one limit has left, for `x-ratelimit-*`. `reset_seconds` is when all of it is available again."""

    unit: str
    limit: int
    remaining: int
    reset_seconds: float


def limit_status(limits: RateLimits, arrivals: Arrivals, now: datetime) -> list[LimitStatus]:
    """One for each limit that the tenant has."""
    moment = _microseconds(now)
    return [
        _status(unit, limit, limits.lanes, arrival - moment)
        for unit, limit, arrival in (
            ("requests", limits.requests, arrivals.requests),
            ("tokens", limits.tokens, arrivals.tokens),
        )
        if limit is not None
    ]


def _status(unit: str, limit: int, lanes: int, ahead: int) -> LimitStatus:
    ahead = max(0, ahead)
    return LimitStatus(
        unit=unit,
        limit=limit,
        remaining=max(0, (_MINUTE - ahead) * limit // (_MINUTE * lanes)),
        reset_seconds=ahead / 1_000_000,
    )


def _arrival(arrival: int, cost: int, per_minute: int | None, moment: int) -> int:
    if per_minute is None:
        return 0
    return max(arrival, moment) - (-cost * _MINUTE // per_minute)


def _microseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)
