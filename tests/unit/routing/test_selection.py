"""Selection: tiers, health, weight, latency, headroom and affinity decide which backend is chosen."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.routing.backend_health import BackendHealth, BreakerState
from shared.domain.routing.catalog import Backend
from shared.domain.routing.selection import Candidate, Pool, WeightedChoice
from shared.domain.routing.transitions import Transitions

DRAWS = 4_000


class Members:
    """Backends of one pool, with healths that share their transitions."""

    def __init__(self, *backends: Backend, rng: Callable[[], float] | None = None) -> None:
        self.transitions = Transitions()
        self.healths = {
            each.backend_id: BackendHealth(
                backend_id=each.backend_id,
                transitions=self.transitions,
                max_concurrent_requests=each.max_concurrent_requests,
            )
            for each in backends
        }
        candidates = [Candidate(each, self.healths[each.backend_id]) for each in backends]
        self.pool = Pool(candidates, self.transitions, rng or random.Random(7).random)

    def chosen(self, now: float = 0, tokens: int = 0, **how: object) -> str | None:
        found = self.pool.choose(now, tokens, **how)  # type: ignore[arg-type] # tried, affinity_point
        return found.backend.backend_id if found else None

    def counted(self, now: float = 0, draws: int = DRAWS, **how: object) -> Counter[str | None]:
        return Counter(self.chosen(now, **how) for _ in range(draws))  # type: ignore[arg-type]


def backend(name: str, weight: int = 1, **more: object) -> Backend:
    fields = Backend(
        backend_id=name,
        endpoint=f"https://{name}.invalid",
        upstream_deployment="d",
        model="m",
        region="swedencentral",
        weight=weight,
    )
    return replace(fields, **more)  # type: ignore[arg-type]


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_a_weighted_choice_gives_each_index_exactly_its_share(weights: list[int]) -> None:
    choice, total = WeightedChoice(weights), sum(weights)
    counts = Counter(choice.draw((unit + 0.5) / total) for unit in range(total))
    assert [counts[index] for index in range(len(weights))] == weights


@given(st.lists(st.floats(0.1, 1000), min_size=1, max_size=300))
def test_a_weighted_choice_stays_within_its_indices(weights: list[float]) -> None:
    choice = WeightedChoice(weights)
    assert choice.draw(0) == 0
    assert choice.draw(1 - 2**-53) < len(weights)


def test_a_weighted_choice_is_that_of_the_standard_library() -> None:
    weights, ours, theirs = [3.0, 0.5, 9.0, 1.25], random.Random(7), random.Random(7)
    choice = WeightedChoice(weights)
    drawn = [choice.draw(ours.random()) for _ in range(1000)]
    assert drawn == theirs.choices(range(len(weights)), weights, k=1000)


@given(st.dictionaries(st.sampled_from("abcdefgh"), st.integers(1, 9), min_size=1), st.integers(0, 99))
def test_choices_converge_to_the_weights(weights: dict[str, int], seed: int) -> None:
    members = Members(*(backend(*each) for each in weights.items()), rng=random.Random(seed).random)
    counts = members.counted(draws=2_000)
    for name, weight in weights.items():
        assert counts[name] / 2_000 == pytest.approx(weight / sum(weights.values()), abs=0.06)


def start(health: BackendHealth, now: float, _: float) -> None:
    if health.is_ready(now) and not health.is_full:
        health.started(now, 1)


def end(health: BackendHealth, _: float, __: float) -> None:
    if health.in_flight:
        health.finished(1)


EVENTS: dict[str, Callable[[BackendHealth, float, float], None]] = {
    "fail": lambda health, now, _: health.failed(now, "x", is_probe=health.is_probing),
    "throttle": lambda health, now, seconds: health.throttled(now, seconds, "x", is_probe=False),
    "answer": lambda health, now, seconds: health.answered(now, seconds, is_probe=health.is_probing),
    "start": start,
    "end": end,
}


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from([*EVENTS]), st.floats(0, 8)), max_size=60),
    st.sets(st.sampled_from("abcd"), max_size=3),
)
def test_only_a_ready_untried_backend_is_chosen_if_there_is_one(
    events: list[tuple[str, str, float]], tried: set[str]
) -> None:
    members = Members(
        backend("a", 3), backend("b", max_concurrent_requests=1), backend("c", priority=2), backend("d", priority=2)
    )
    now = 0.0
    for name, event, seconds in events:
        now += seconds
        EVENTS[event](members.healths[name], now, seconds)
        fit = {each for each, health in members.healths.items() if health.is_ready(now) and not health.is_full}
        able = fit - tried
        resorts = {each for each, health in members.healths.items() if health.is_last_resort(now)} - tried
        chosen = members.chosen(now, tried=tried)
        assert chosen in able or (not able and (chosen is None or chosen in resorts))
        assert not able & {"a", "b"} or chosen in {"a", "b"}, "the first tier comes first"


def test_provisioned_capacity_comes_first_and_spills_over_while_it_refuses() -> None:
    members = Members(backend("paygo", 9), backend("ptu", sku="ProvisionedManaged"))
    assert members.counted() == {"ptu": DRAWS}
    members.healths["ptu"].throttled(0, 5, "status 429", is_probe=False)
    assert members.counted() == {"paygo": DRAWS}
    assert members.chosen(5) == "ptu"


def test_fallbacks_come_last_in_their_order() -> None:
    backends = [backend("own"), backend("second"), backend("first")]
    transitions = Transitions()
    candidates = [
        Candidate(each, BackendHealth(backend_id=each.backend_id, transitions=transitions), fallback_index)
        for each, fallback_index in zip(backends, (0, 2, 1), strict=True)
    ]
    pool = Pool(candidates, transitions)
    order = []
    for candidate in [*pool.candidates]:
        chosen = pool.choose(0, 0)
        assert chosen is candidate
        order.append(chosen.backend.backend_id)
        chosen.health.throttled(0, 9, "x", is_probe=False)
    assert order == ["own", "first", "second"]
    assert pool.choose(0, 0) is None


def test_a_slow_backend_gets_proportionally_fewer_requests_but_some() -> None:
    members = Members(backend("quick"), backend("slow"), backend("slowest"))
    for name, seconds in (("quick", 0.1), ("slow", 0.4), ("slowest", 50)):
        members.healths[name].answered(0, seconds, is_probe=False)
    counts = members.counted(1)
    assert counts["slow"] / counts["quick"] == pytest.approx(0.25, abs=0.05)
    assert counts["slowest"] / counts["quick"] == pytest.approx(0.1, abs=0.04)


def test_a_backend_with_headroom_is_preferred_and_weights_count_if_none_has() -> None:
    members = Members(backend("a"), backend("b"), backend("c"))
    for name, tokens in (("a", 10), ("b", 99), ("c", 10)):
        members.healths[name].note_headroom(0, None, tokens)
    assert members.counted(tokens=50) == {"b": DRAWS}
    counts = members.counted(tokens=100)
    assert all(counts[name] / DRAWS == pytest.approx(1 / 3, abs=0.04) for name in "abc")


def test_a_half_open_backend_gets_one_probe_at_a_time() -> None:
    members = Members(backend("a"), backend("b"))
    down = members.healths["a"]
    for _ in range(3):
        down.failed(0, "x", is_probe=False)
    assert members.counted(4.9) == {"b": DRAWS}
    assert members.chosen(5) == "a"
    assert members.chosen(5, tried={"a"}) == "b"
    assert down.started(5, 0)
    assert members.counted(5) == {"b": DRAWS}
    down.failed(6, "x", is_probe=True)
    assert members.counted(14) == {"b": DRAWS}
    down.started(16, 0)
    down.answered(16, 0.1, is_probe=True)
    assert members.counted(17)["a"] < DRAWS / 4, "a backend starts slowly after a recovery"
    assert members.counted(99)["a"] == pytest.approx(DRAWS / 2, rel=0.1)


def test_one_backend_is_tried_now_and_then_if_all_are_down() -> None:
    members = Members(backend("a"), backend("b", max_concurrent_requests=1))
    for name in "ab":
        for _ in range(3):
            members.healths[name].failed(0, "x", is_probe=False)
    assert [members.chosen(0.5), members.chosen(1), members.chosen(1, tried={"a"})] == [None, "a", "b"]
    assert members.healths["a"].started(1, 0)
    assert members.healths["b"].started(1, 0)
    assert members.chosen(2) is None
    members.healths["b"].answered(2, 0.1, is_probe=True)
    assert members.chosen(3, tried={"b"}) is None
    assert members.chosen(3) is None, "the backend is full, so the request waits for it"


def test_a_prompt_stays_at_one_backend_chosen_by_weight_unless_that_cannot_serve() -> None:
    members = Members(backend("a", 3), backend("b", 1))
    chosen = {point / 64: members.chosen(affinity_point=point / 64) for point in range(64)}
    assert Counter(chosen.values()) == {"a": 48, "b": 16}
    point = next(point for point, name in chosen.items() if name == "b")
    assert members.counted(affinity_point=point) == {"b": DRAWS}
    members.healths["b"].note_headroom(0, None, 1)
    assert members.chosen(0, tokens=2, affinity_point=point) == "a"
    members.healths["b"].throttled(0, 9, "x", is_probe=False)
    assert members.chosen(1, affinity_point=point) == "a"
    assert members.chosen(9.5, affinity_point=point) == "b"
    for name, seconds in (("a", 0.1), ("b", 5)):
        members.healths[name].answered(10, seconds, is_probe=False)
    assert members.counted(80, affinity_point=point)["a"] > DRAWS / 2, "the backend is too slow for affinity"


def test_the_pool_knows_when_a_backend_will_be_ready() -> None:
    members = Members(backend("a"), backend("b"))
    assert (members.pool.seconds_until_ready(0), members.pool.seconds_until_next_try(0)) == (0, None)
    members.healths["a"].throttled(0, 4, "x", is_probe=False)
    assert (members.pool.seconds_until_ready(0), members.pool.seconds_until_next_try(0)) == (0, 4)
    members.healths["b"].throttled(0, 9, "x", is_probe=False)
    assert (members.pool.seconds_until_ready(1), members.pool.seconds_until_next_try(5)) == (3, 4)
    assert members.pool.seconds_until_ready(1, {"a"}) == 8
    assert members.pool.seconds_until_ready(1, {"a", "b"}) is None
    assert members.pool.seconds_until_ready(9) == 0
    assert members.healths["a"].state(9) is BreakerState.CLOSED


def test_the_rate_of_free_slots_is_known_if_all_backends_are_limited() -> None:
    members = Members(backend("a", max_concurrent_requests=2), backend("b", max_concurrent_requests=4))
    assert [members.pool.requests_per_second] == [None]
    for health in members.healths.values():
        health.started(0, 0)
        health.finished(2)
    assert members.pool.requests_per_second == 3
    assert Members(backend("a")).pool.requests_per_second is None


def test_a_drained_backend_serves_if_it_is_the_only_one() -> None:
    assert Members(backend("a", 0)).chosen() == "a"
