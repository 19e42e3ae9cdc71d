"""Which backend of a pool serves a request: by tier, health, weight, pace and room.

A choice costs the same for three backends as for three hundred: who is ready, and with which share, is worked out when
the state of a backend changes and once a second, not for each request.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Iterable, Sequence
from itertools import groupby
from typing import Final

from shared.domain.routing.backend_health import BackendHealth, BreakerState, Transitions
from shared.domain.routing.catalog import Backend
from shared.domain.values import value

_DRAWS: Final = 4
_TABLE_SECONDS: Final = 1.0
_AFFINITY_SHARE: Final = 0.5


class AliasTable:
    """Draws indices in proportion to weights, each in the same time (Walker's alias method).

    https://doi.org/10.1145/355744.355749
    """

    __slots__ = ("_aliases", "_limits")

    def __init__(self, weights: Sequence[float]) -> None:
        scale = len(weights) / sum(weights)
        limits = self._limits = [weight * scale for weight in weights]
        self._aliases = list(range(len(weights)))
        small = [index for index, limit in enumerate(limits) if limit < 1]
        large = [index for index, limit in enumerate(limits) if limit >= 1]
        while small and large:
            less, more = small.pop(), large[-1]
            self._aliases[less] = more
            limits[more] -= 1 - limits[less]
            if limits[more] < 1:
                small.append(large.pop())
        for index in small:  # only rounding has left them there
            limits[index] = 1.0

    def draw(self, point: float) -> int:
        """The index that a point of `[0, 1)` falls on."""
        place = point * len(self._limits)
        index = int(place)
        return index if place - index < self._limits[index] else self._aliases[index]


@value
class Candidate:
    """A backend that may serve, its health, and the fallback it belongs to; 0 is the deployment's own pool."""

    backend: Backend
    health: BackendHealth
    fallback_index: int = 0

    @property
    def tier(self) -> tuple[int, int, bool]:
        """Lowest first: fallbacks come last, and provisioned capacity before what is paid by the token."""
        return self.fallback_index, self.backend.priority, not self.backend.is_provisioned

    def can_take(self, tried: Collection[str]) -> bool:
        """Whether it has a place for a request that has tried those already."""
        return not self.health.is_full and self.backend.backend_id not in tried


class _Tier:
    """Candidates of which none is preferred to another but by weight."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self.candidates = candidates
        self._affinity = AliasTable([each.backend.weight or 1 for each in candidates])
        self._probes: list[Candidate] = []
        self._ready: list[Candidate] = []
        self._table: AliasTable | None = None
        self._fastest: float | None = None
        self._seen = -1
        self._look_again_at = 0.0

    def refresh(self, now: float, transitions: int) -> None:
        """Work out who is ready, if that may have changed."""
        if transitions == self._seen and now < self._look_again_at:
            return
        ready = [each for each in self.candidates if each.health.is_ready(now)]
        self._probes = [each for each in ready if each.health.state(now) is BreakerState.HALF_OPEN]
        self._ready = [each for each in ready if each.health.state(now) is BreakerState.CLOSED]
        paces = (each.health.latency_seconds for each in self._ready)
        self._fastest = min((pace for pace in paces if pace is not None), default=None)
        shares = [(each.backend.weight or 1) * each.health.share(now, self._fastest) for each in self._ready]
        self._table = AliasTable(shares) if shares else None
        opening = (each.health.open_until for each in self.candidates)
        self._seen = transitions
        self._look_again_at = min([now + _TABLE_SECONDS, *(until for until in opening if until and until > now)])

    def choose(
        self, now: float, tokens: int, tried: Collection[str], affinity_point: float | None, rng: Callable[[], float]
    ) -> Candidate | None:
        """A probe that is due, else the home of the prompt, else one by lot, else whoever can."""
        first = self._first(now, affinity_point, rng)
        if first is not None and first.can_take(tried) and first.health.has_headroom(now, tokens):
            return first
        return self._search(now, tokens, tried, rng)

    def _first(self, now: float, affinity_point: float | None, rng: Callable[[], float]) -> Candidate | None:
        if self._probes:
            return self._probes[0]
        if self._table is None:
            return None
        fit = None if affinity_point is None else self._preferred(now, affinity_point)
        return fit or self._ready[self._table.draw(rng())]

    def _search(self, now: float, tokens: int, tried: Collection[str], rng: Callable[[], float]) -> Candidate | None:
        """Probes, some by lot, and then everybody; without room only where nobody has any."""
        ready, table, without_headroom = self._ready, self._table, None
        drawn = [ready[table.draw(rng())] for _ in range(_DRAWS)] if table is not None else []
        for each in (*self._probes, *drawn, *ready):
            if each.can_take(tried):
                if each.health.has_headroom(now, tokens):
                    return each
                without_headroom = without_headroom or each
        return without_headroom

    def _preferred(self, now: float, affinity_point: float) -> Candidate | None:
        """The candidate that a prompt's beginning prefers, if it is fit."""
        each = self.candidates[self._affinity.draw(affinity_point)]
        is_fit = each.health.is_ready(now) and each.health.share(now, self._fastest) >= _AFFINITY_SHARE
        return each if is_fit else None


class Pool:
    """Everything that may serve a tenant's requests to a deployment, the best tier first."""

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
        """Who serves a request of so many tokens now; `None` if nobody can.

        Those that were `tried` are left out. `home`, a point of `[0, 1)`, stands for a prompt whose beginning a backend
        may have cached: the same point prefers the same backend.
        """
        for tier in self._tiers:
            tier.refresh(now, self._transitions.count)
            chosen = tier.choose(now, tokens, tried, affinity_point, self._rng)
            if chosen is not None:
                return chosen
        return self._last_resort(now, tried)

    def _last_resort(self, now: float, tried: Collection[str]) -> Candidate | None:
        """Who is tried although its breaker is open, because all others are open, too."""
        untried = [each for each in self.candidates if each.backend.backend_id not in tried]
        if any(each.health.is_ready(now) for each in untried):
            return None  # a place will become free
        return next((each for each in untried if each.health.is_last_resort(now) and not each.health.is_full), None)

    def seconds_until_ready(self, now: float, tried: Collection[str] = ()) -> float | None:
        """When the first of those not tried may take requests, full or not; `None` if all were tried.

        A probe that is under way may tell at any moment that its backend is ready.
        """
        untried = (each.health for each in self.candidates if each.backend.backend_id not in tried)
        return min((health.seconds_until_ready(now) for health in untried), default=None)

    def seconds_until_next_try(self, now: float) -> float | None:
        """When the next breaker's time is over; `None` if none is open."""
        opening = (each.health.open_until for each in self.candidates)
        return min((until - now for until in opening if until is not None and until > now), default=None)

    @property
    def requests_per_second(self) -> float | None:
        """How fast places become free, where every backend has a bound; else `None`."""
        pace = 0.0
        for each in self.candidates:
            health = each.health
            if health.most_at_once is None or not health.held_seconds:
                return None
            pace += health.most_at_once / health.held_seconds
        return pace
