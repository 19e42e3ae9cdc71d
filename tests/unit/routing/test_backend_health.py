"""Rules of the circuit breaker, at times that the test states."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.domain.routing.backend_health import BackendHealth, BreakerPolicy, BreakerState

POLICY = BreakerPolicy()
CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN


def failing(health: BackendHealth, now: float, times: int) -> None:
    for _ in range(times):
        is_probe = health.started(now, 0)
        health.failed(now, "status 500", is_probe=is_probe)
        health.finished(0.1)


def answered(health: BackendHealth, now: float, seconds: float = 0.1) -> None:
    is_probe = health.started(now, 0)
    health.answered(now, seconds, is_probe=is_probe)
    health.finished(seconds)


def test_it_opens_on_failures_in_a_row_and_not_before() -> None:
    health = BackendHealth(backend_id="b")
    failing(health, 0, POLICY.consecutive_failures - 1)
    answered(health, 0)
    failing(health, 0, POLICY.consecutive_failures - 1)
    assert (health.state(0), health.is_ready(0)) == (CLOSED, True)
    failing(health, 0, 1)
    assert (health.state(0), health.is_ready(0), health.reason) == (OPEN, False, "status 500")
    assert health.open_until == POLICY.open_seconds
    assert health.in_flight == 0


def test_it_opens_on_a_share_of_failures_within_a_window() -> None:
    health = BackendHealth(backend_id="b")
    for number in range(POLICY.window_requests):
        assert health.state(number) is CLOSED
        if number % 2:
            failing(health, number, 1)
        else:
            answered(health, number)
    assert health.state(POLICY.window_requests - 1) is OPEN
    assert health.recent(POLICY.window_requests - 1) == (POLICY.window_requests, POLICY.window_requests // 2)


def test_failures_before_the_window_no_longer_count() -> None:
    health = BackendHealth(backend_id="b")
    for number in range(POLICY.window_requests - 1):
        failing(health, number % 2, 1)
        answered(health, number % 2)
    assert health.recent(1 + 2 * POLICY.window_seconds) == (0, 0)
    health.close(0)
    failing(health, 0, 1)
    assert health.recent(POLICY.window_seconds) == (1, 1)
    assert health.recent(2 * POLICY.window_seconds + 1) == (0, 0)


def test_it_opens_on_streams_that_break_even_if_others_begin() -> None:
    health = BackendHealth(backend_id="b")
    for number in range(3):
        assert health.state(0) is CLOSED
        for _ in range(4):
            health.answered(0, 0.1, is_probe=False, is_stream=True)
        health.failed(number, "it broke", is_probe=False)
    assert health.state(3) is OPEN
    assert health.recent(3) == (3, 3)
    health.close(3)
    health.failed(4, "it broke", is_probe=False)
    health.completed(4)
    failing(health, 4, 2)
    assert health.state(4) is CLOSED


def test_one_probe_goes_through_and_its_answer_closes_the_breaker() -> None:
    health = BackendHealth(backend_id="b")
    failing(health, 0, 3)
    now = POLICY.open_seconds
    assert (health.state(now), health.is_ready(now)) == (HALF_OPEN, True)
    assert health.started(now, 0)
    assert not health.is_ready(now)
    health.answered(now, 0.1, is_probe=True)
    assert (health.state(now), health.is_ready(now), health.reason) == (CLOSED, True, "")


def test_each_failed_probe_doubles_the_open_time_up_to_a_minute() -> None:
    health, now, times = BackendHealth(backend_id="b"), 0.0, []
    failing(health, now, 3)
    for _ in range(6):
        assert health.open_until is not None
        times.append(health.open_until - now)
        now = health.open_until
        failing(health, now, 1)
    assert times == [5, 10, 20, 40, 60, 60]


def test_a_probe_without_a_result_allows_another() -> None:
    health = BackendHealth(backend_id="b")
    failing(health, 0, 3)
    assert health.started(9, 0)
    health.abandoned(is_probe=True)
    health.finished(0.1)
    assert health.started(9, 0)
    health.abandoned(is_probe=False)
    assert health.is_probing


def test_a_request_that_began_before_neither_closes_nor_prolongs_it() -> None:
    health = BackendHealth(backend_id="b")
    health.started(0, 0)
    failing(health, 0, 3)
    health.answered(1, 1, is_probe=False)
    assert (health.state(1), health.open_until) == (OPEN, 5)
    health.failed(2, "late", is_probe=False)
    assert health.open_until == 5


def test_it_stays_open_for_the_time_that_a_refusal_states_and_needs_no_probe() -> None:
    health = BackendHealth(backend_id="b")
    health.throttled(0, 7.5, "status 429", is_probe=False)
    health.throttled(1, 2, "status 429", is_probe=False)
    assert (health.state(7), health.state(7.5)) == (OPEN, CLOSED)
    assert health.is_ready(7.5)
    assert not health.started(7.5, 0)
    assert (health.open_until, health.is_throttled, health.recovered_at) == (None, False, -float("inf"))


def test_a_refusal_that_states_no_time_opens_it_for_a_default_time() -> None:
    health = BackendHealth(backend_id="b")
    health.throttled(0, None, "status 429", is_probe=False)
    assert health.open_until == POLICY.throttled_seconds


def test_a_refusal_of_the_probe_keeps_the_breaker_as_it_was_for_longer() -> None:
    health = BackendHealth(backend_id="b")
    failing(health, 0, 3)
    health.throttled(5, 3, "status 429", is_probe=health.started(5, 0))
    assert (health.state(7), health.state(8)) == (OPEN, HALF_OPEN)
    assert health.is_ready(8)


def test_a_refusal_of_the_gateway_itself_raises_an_alarm_until_it_is_answered() -> None:
    health = BackendHealth(backend_id="b")
    health.misconfigured(0, "status 401", is_probe=False)
    now = POLICY.misconfigured_seconds
    assert (health.state(now - 1), health.state(now), health.is_misconfigured) == (OPEN, HALF_OPEN, True)
    answered(health, now)
    assert not health.is_misconfigured


def test_it_starts_slowly_after_a_recovery_and_gets_less_the_slower_it_is() -> None:
    health = BackendHealth(backend_id="b")
    answered(health, 0, 0.4)
    assert (health.share(0, None), health.share(0, 0.4), health.share(0, 0.1)) == (1, 1, 0.25)
    failing(health, 0, 3)
    answered(health, 5, 0.4)
    assert health.share(5, None) == 0.1
    assert health.share(5 + POLICY.slow_start_seconds / 2, None) == 0.5
    assert health.share(5 + POLICY.slow_start_seconds, None) == 1


def test_its_headroom_is_what_its_last_answer_stated() -> None:
    health = BackendHealth(backend_id="b")
    assert health.has_headroom(0, 10**9)
    health.note_headroom(0, 2, 1000)
    health.started(0, 400)
    assert (health.has_headroom(0, 600), health.has_headroom(0, 601)) == (True, False)
    health.started(0, 100)
    assert not health.has_headroom(0, 1)
    assert health.has_headroom(60, 10**9)
    health.note_headroom(0, None, None)
    health.started(0, 5)
    assert health.has_headroom(0, 10**9)


def test_it_is_full_at_its_limit_of_concurrent_requests() -> None:
    health = BackendHealth(backend_id="b", max_concurrent_requests=2)
    health.started(0, 0)
    seen = [health.is_full]
    health.started(0, 0)
    seen.append(health.is_full)
    health.finished(1)
    health.finished(3)
    assert (seen, health.is_full) == ([False, True], False)
    assert health.held_seconds == pytest.approx(1.4)


def test_it_may_be_tried_once_a_second_if_no_other_is_ready() -> None:
    health = BackendHealth(backend_id="b")
    assert not health.is_last_resort(9)
    failing(health, 0, 3)
    assert [health.is_last_resort(0.9), health.is_last_resort(1)] == [False, True]
    assert health.started(1, 0)
    assert not health.is_last_resort(2)
    health.failed(2, "x", is_probe=True)
    assert [health.is_last_resort(2.9), health.is_last_resort(3)] == [False, True]
    answered(health, 3)
    assert health.state(3) is CLOSED
    health.throttled(4, 9, "status 429", is_probe=False)
    assert not health.is_last_resort(12)


def test_a_hint_counts_unless_it_is_older_than_the_last_answer() -> None:
    health = BackendHealth(backend_id="b")
    answered(health, 10)
    health.apply_hint(12, 30, "status 500", seconds_ago=3)
    assert health.state(12) is CLOSED
    health.apply_hint(12, 30, "status 500", seconds_ago=1)
    assert (health.state(41), health.state(42), health.is_hinted) == (OPEN, HALF_OPEN, True)
    health.apply_hint(13, -1, "", seconds_ago=0)
    assert (health.state(13), health.is_hinted) == (CLOSED, False)
    health.apply_hint(14, -1, "", seconds_ago=0)
    failing(health, 14, 3)
    health.apply_hint(15, -1, "", seconds_ago=0)
    assert health.state(15) is OPEN


ENDS: dict[str, Callable[[BackendHealth, float, float, bool], None]] = {
    "answer": lambda health, now, seconds, probe: health.answered(now, seconds, is_probe=probe),
    "fail": lambda health, now, _, probe: health.failed(now, "status 500", is_probe=probe),
    "throttle": lambda health, now, seconds, probe: health.throttled(now, seconds, "status 429", is_probe=probe),
    "misconfigure": lambda health, now, _, probe: health.misconfigured(now, "status 401", is_probe=probe),
    "give up": lambda health, _, __, probe: health.abandoned(is_probe=probe),
}
EVENTS = st.lists(st.tuples(st.sampled_from(["start", "learn", *ENDS]), st.floats(0, 20)), max_size=60)


def happen(health: BackendHealth, event: str, now: float, seconds: float, under_way: list[bool]) -> None:
    if event == "learn":
        health.apply_hint(now, seconds - 5, "hint", seconds_ago=seconds)
    elif event == "start" and (health.is_ready(now) or health.is_last_resort(now)):
        under_way.append(health.started(now, 1))
    elif event in ENDS and under_way:
        ENDS[event](health, now, seconds, under_way.pop())
        health.finished(seconds)


@given(EVENTS)
@example(
    [("learn", 6), ("start", 1), ("learn", 0), ("learn", 6)]
)  # a hint closes the breaker during a probe, another opens it
def test_the_breaker_keeps_its_rules_after_any_events(events: list[tuple[str, float]]) -> None:
    health, now = BackendHealth(backend_id="b"), 0.0
    under_way: list[bool] = []
    for event, seconds in events:
        now += seconds
        transitions, was_ready = health.transitions.count, health.is_ready(now)
        happen(health, event, now, seconds, under_way)
        assert health.in_flight == len(under_way)
        assert sum(under_way) <= 1, "one probe at a time"
        assert health.is_probing == any(under_way)
        assert not health.is_ready(now) or health.state(now) is not OPEN
        assert (health.open_until is None) <= (not health.reason)
        if health.is_ready(now) is not was_ready:
            assert health.transitions.count != transitions, "every change that affects selection is counted"
