"""Choose the backend of a pool for a request: by tier, health, weight, latency and headroom (ADR 20).

A choice costs about the same for three backends as for three hundred. Each tier keeps its ready backends and their
weights. It renews them when a breaker changes and once a second, not for each request.
"""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import accumulate, groupby
from typing import Final

from shared.domain.routing.backend_health import BackendHealth, BreakerState
from shared.domain.routing.catalog import Backend
from shared.domain.routing.transitions import Transitions
from shared.domain.values import value

_DRAWS: Final = 4
"""Weighted random choices to try before a tier is searched in order."""
_REFRESH_SECONDS: Final = 1.0
_MIN_AFFINITY_SHARE: Final = 0.5
"""A backend that gets a smaller part of its weight is too slow to be preferred for its cache."""


class WeightedChoice:
    """Weighted random choice of an index, as `random.choices` makes it from cumulative weights."""

    __slots__ = ("_cumulative",)

    def __init__(self, weights: Iterable[float]) -> None:
        self._cumulative = [*accumulate(weights)]

    def draw(self, point: float) -> int:
        """Return the index on which a point of `[0, 1)` falls. The same point always gives the same index."""
        cumulative = self._cumulative
        last = len(cumulative) - 1  # rounding may put the largest points on the total weight
        return bisect(cumulative, point * cumulative[-1], 0, last)


@value
class Candidate:
    """A backend that may serve, its health, and the index of its fallback; 0 is the deployment's own pool."""

    backend: Backend
    health: BackendHealth
    fallback_index: int = 0

    @property
    def tier(self) -> tuple[int, int, bool]:
        """The lowest is preferred: fallbacks last, then by priority, then provisioned before paid by the token."""
        return self.fallback_index, self.backend.priority, not self.backend.is_provisioned

    def can_take(self, tried: Collection[str]) -> bool:
        """Tell whether the backend has a free slot and is not among those `tried`."""
        return not self.health.is_full and self.backend.backend_id not in tried


class _Tier:
    """Candidates that differ only by weight, latency and headroom."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self.candidates = candidates
        # Only configured weights count here, so that all processes prefer the same backend for a prompt.
        self._by_affinity = WeightedChoice(_weight(each) for each in candidates)
        self._probes: list[Candidate] = []
        self._ready: list[Candidate] = []
        self._by_share: WeightedChoice | None = None
        self._fastest: float | None = None
        self._seen = -1
        self._refresh_at = 0.0

    def refresh(self, now: float, transitions: int) -> None:
        """Find the ready candidates and their shares, if these may have changed."""
        if transitions == self._seen and now < self._refresh_at:
            return
        ready = [each for each in self.candidates if each.health.is_ready(now)]
        self._probes = [each for each in ready if each.health.state(now) is BreakerState.HALF_OPEN]
        self._ready = [each for each in ready if each.health.state(now) is BreakerState.CLOSED]
        latencies = (each.health.latency_seconds for each in self._ready)
        self._fastest = min((latency for latency in latencies if latency is not None), default=None)
        shares = [_weight(each) * each.health.share(now, self._fastest) for each in self._ready]
        self._by_share = WeightedChoice(shares) if shares else None
        opening = (each.health.open_until for each in self.candidates)
        self._seen = transitions
        self._refresh_at = min([now + _REFRESH_SECONDS, *(until for until in opening if until and until > now)])

    def choose(
        self, now: float, tokens: int, tried: Collection[str], affinity_point: float | None, rng: Callable[[], float]
    ) -> Candidate | None:
        """Choose a candidate of this tier; `None` if none can take the request.

        The first choice is a probe that is due, else the prompt's preferred backend, else a weighted random one.
        If that cannot take the request, all are searched.
        """
        first = self._first(now, affinity_point, rng)
        if first is not None and first.can_take(tried) and first.health.has_headroom(now, tokens):
            return first
        return self._search(now, tokens, tried, rng)

    def _first(self, now: float, affinity_point: float | None, rng: Callable[[], float]) -> Candidate | None:
        if self._probes:
            return self._probes[0]
        if self._by_share is None:
            return None
        preferred = None if affinity_point is None else self._preferred(now, affinity_point)
        return preferred or self._ready[self._by_share.draw(rng())]

    def _search(self, now: float, tokens: int, tried: Collection[str], rng: Callable[[], float]) -> Candidate | None:
        """Search probes, some weighted random choices, then all. Takes one without headroom only if none has any."""
        ready, by_share, without_headroom = self._ready, self._by_share, None
        drawn = [ready[by_share.draw(rng())] for _ in range(_DRAWS)] if by_share is not None else []
        for each in (*self._probes, *drawn, *ready):
            if each.can_take(tried):
                if each.health.has_headroom(now, tokens):
                    return each
                without_headroom = without_headroom or each
        return without_headroom

    def _preferred(self, now: float, affinity_point: float) -> Candidate | None:
        """Return the candidate on which the affinity point falls; `None` unless it is ready and fast enough.

        All candidates have a part of `[0, 1)`, also those that are not ready, so that prompts keep their backend.
        """
        each = self.candidates[self._by_affinity.draw(affinity_point)]
        is_fit = each.health.is_ready(now) and each.health.share(now, self._fastest) >= _MIN_AFFINITY_SHARE
        return each if is_fit else None


def _weight(candidate: Candidate) -> int:
    """Return the configured weight. A drained backend has 1, because it must still serve what it stores."""
    return candidate.backend.weight or 1


class Pool:
    """The backends that may serve a tenant's requests to a deployment, the preferred tier first."""

    def __init__(
        self, candidates: Iterable[Candidate], transitions: Transitions, rng: Callable[[], float] = random.random
    ) -> None:
        self.candidates = sorted(candidates, key=lambda each: (each.tier, each.backend.backend_id))
        self._tiers = [_Tier([*tier]) for _, tier in groupby(self.candidates, key=lambda each: each.tier)]
        self._transitions = transitions
        self._rng = rng

    def choose(
        self, now: float, tokens: int, tried: Collection[str] = (), affinity_point: float | None = None
    ) -> Candidate | None:
        """Choose the backend for a request of `tokens` tokens now; `None` if no backend can take it.

        Leaves out the backends that were `tried`. `affinity_point`, of `[0, 1)`, stands for the beginning of a prompt
        that a backend may have cached: the same point prefers the same backend.
        """
        for tier in self._tiers:
            tier.refresh(now, self._transitions.count)
            chosen = tier.choose(now, tokens, tried, affinity_point, self._rng)
            if chosen is not None:
                return chosen
        return self._last_resort(now, tried)

    def _last_resort(self, now: float, tried: Collection[str]) -> Candidate | None:
        """Choose an open backend, because no backend that was not tried is ready."""
        untried = [each for each in self.candidates if each.backend.backend_id not in tried]
        if any(each.health.is_ready(now) for each in untried):
            return None  # it is full, but a slot will become free
        return next((each for each in untried if each.health.is_last_resort(now) and not each.health.is_full), None)

    def seconds_until_ready(self, now: float, tried: Collection[str] = ()) -> float | None:
        """Return the time until the first backend that was not `tried` is ready; `None` if all were tried.

        A full backend counts as ready. During a probe the time is 0, because it may succeed at any moment.
        """
        untried = (each.health for each in self.candidates if each.backend.backend_id not in tried)
        return min((health.seconds_until_ready(now) for health in untried), default=None)

    def seconds_until_next_try(self, now: float) -> float | None:
        """Return the time until the next open breaker becomes half-open; `None` if none is open."""
        opening = (each.health.open_until for each in self.candidates)
        return min((until - now for until in opening if until is not None and until > now), default=None)

    @property
    def requests_per_second(self) -> float | None:
        """The rate at which slots become free; `None` unless every backend has a limit and a known duration."""
        rate = 0.0
        for each in self.candidates:
            health = each.health
            if health.max_concurrent_requests is None or not health.held_seconds:
                return None
            rate += health.max_concurrent_requests / health.held_seconds
        return rate
