"""Gateways on machines with different clocks agree on the time that storage states."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.adapters.clock import StorageClock

START = datetime(2026, 11, 30, 23, 59, 50, tzinfo=UTC).timestamp()


class Machine(StorageClock):
    """A machine whose clock is `ahead` seconds fast."""

    def __init__(self, ahead: float) -> None:
        super().__init__()
        self.ahead = ahead
        self.truth = START

    def _machine_time(self) -> float:
        return self.truth + self.ahead

    def exchange(self, there: float, back: float) -> None:
        """Send a request that takes `there` seconds to storage, and its answer `back` seconds."""
        self.truth += there
        date = format_datetime(datetime.fromtimestamp(int(self.truth), UTC), usegmt=True).encode()
        self.truth += back
        self.observe(date, there + back)

    @property
    def error(self) -> float:
        return self.now().timestamp() - self.truth


latencies = st.floats(0.001, 0.2)


@given(st.floats(-30, 30), st.lists(st.tuples(st.floats(0, 20), latencies, latencies), min_size=1, max_size=20))
def test_the_first_answer_corrects_the_clock_to_about_a_second_and_no_other_worsens_it(
    ahead: float, exchanges: list[tuple[float, float, float]]
) -> None:
    machine = Machine(ahead)
    for pause, there, back in exchanges:
        machine.truth += pause
        machine.exchange(there, back)
        assert abs(machine.error) <= min(abs(ahead), 1 + there + back) + 1e-5


def test_many_answers_correct_the_clock_further() -> None:
    for ahead in (-3.0, 3.0):
        machine = Machine(ahead)
        for _ in range(40):
            machine.truth += 0.37
            machine.exchange(0.002, 0.002)
        assert abs(machine.error) < 0.1


def test_a_clock_that_may_be_right_is_left_alone() -> None:
    machine = Machine(0.004)
    for _ in range(10):
        machine.truth += 1.01
        machine.exchange(0.01, 0.01)
    assert machine.error == pytest.approx(0.004, abs=1e-5)


def test_a_clock_that_is_set_meanwhile_is_corrected_anew() -> None:
    machine = Machine(0.0)
    machine.exchange(0.01, 0.01)
    for ahead in (5.0, -5.0, 3600.0, 0.0):
        machine.ahead = ahead
        machine.exchange(0.01, 0.01)
        assert abs(machine.error) <= 1.03


def test_a_clock_that_drifts_is_followed() -> None:
    machine = Machine(0.0)
    for _ in range(200):
        machine.truth += 10
        machine.ahead += 0.02
        machine.exchange(0.01, 0.01)
    assert abs(machine.error) <= 1.03


@pytest.mark.parametrize("date", [b"", b"yesterday", b"\xff"])
def test_an_answer_without_a_date_changes_nothing(date: bytes) -> None:
    machine = Machine(3.0)
    machine.observe(date, 0.01)
    assert machine.error == pytest.approx(3.0, abs=1e-5)


def test_the_clock_moves_with_time() -> None:
    clock = StorageClock()
    assert abs((clock.now() - datetime.now(UTC)).total_seconds()) < 60
