"""Rate limits of a tenant: requests and tokens per minute, by the generic cell rate algorithm (GCRA).

- Its state is two numbers, and there is no window to reset.
- A request counts with the upper bound of its tokens, as Azure OpenAI counts it.
- An idle tenant may use a whole minute's limit at once. After that it is served at the limit's rate.
- If several lanes serve a tenant, each has an equal part of the rate. A request larger than that part is admitted
  once the lane has been idle long enough.

Sources: https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm and
https://learn.microsoft.com/azure/ai-services/openai/how-to/quota (how rate limits are counted)
"""

from __future__ import annotations

from datetime import datetime

from shared.domain.stored_fields import stored
from shared.domain.values import record, value

_MINUTE = 60_000_000
"""Microseconds, as all times in this module."""


@value
class RateLimits:
    """A tenant's limits per minute; `None` means no limit. `lanes` is the number of lanes that share them evenly."""

    requests: int | None = None
    tokens: int | None = None
    lanes: int = 1


@value
class Arrivals:
    """State of the rate limits: the theoretical arrival time of each unit, in microseconds since 1970.

    At that time everything admitted so far would have been served at the limit's rate.
    """

    requests: int = stored("requests", name="requests_arrival", int64=True, default=0)
    tokens: int = stored("tokens", name="tokens_arrival", int64=True, default=0)

    def admit(self, limits: RateLimits, tokens: int, now: datetime) -> tuple[Arrivals, float]:
        """Admit one request of at most `tokens` tokens.

        Returns the state after it, and the seconds until it may be admitted; 0 means now. Does not change this state.
        """
        if limits.requests is None and limits.tokens is None:
            return _UNLIMITED, 0.0
        moment = _microseconds(now)
        requests = _arrival(self.requests, limits.lanes, limits.requests, moment)
        arrival = _arrival(self.tokens, tokens * limits.lanes, limits.tokens, moment)
        wait = max(requests, arrival) - moment - _MINUTE
        if limits.lanes > 1:  # a request larger than the lane's part waits until the lane is idle, not for ever
            wait = min(wait, max(self.requests, self.tokens) - moment)
        return Arrivals(requests, arrival), max(0, wait) / 1_000_000


_UNLIMITED = Arrivals()


@record
class LimitStatus:
    """The rest of one limit, for the headers `x-ratelimit-*`. All of it is available again in `reset_seconds`."""

    unit: str
    limit: int
    remaining: int
    reset_seconds: float


def limit_status(limits: RateLimits, arrivals: Arrivals, now: datetime) -> list[LimitStatus]:
    """Return the status of each limit that the tenant has."""
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
    return max(arrival, moment) - (-cost * _MINUTE // per_minute)  # rounded up, so that the rate is never exceeded


def _microseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)
