"""Deterministic simulation of the ledger (tests/proof/simulation.py): seeded faults, crashes and closings."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shared.domain.ledger.entries import EntryKind
from tests.proof.simulation import FAULTS, Schedule, Weather

SCHEDULES = 600
GROUP = 50


@pytest.mark.parametrize("first", range(0, SCHEDULES, GROUP))
def test_the_books_are_right_after_every_schedule(first: int) -> None:
    """`python -m tests.proof.simulation --first SEED --count 1` repeats one schedule."""
    assert {seed: found for seed in range(first, first + GROUP) if (found := Schedule(seed).run())} == {}


def test_schedules_contain_every_fault_and_kind_of_entry() -> None:
    """A few schedules contain each fault, and write each kind of entry that clients cause."""
    schedules = [Schedule(seed) for seed in range(60)]
    for schedule in schedules:
        schedule.run()
    struck = {kind for schedule in schedules for kind, count in schedule.faults.by_kind.items() if count}
    assert {*FAULTS, "kill", "hang-up"} <= struck
    written = {kind for schedule in schedules for kind in schedule.entries}
    assert written == set(EntryKind)
    assert sum(schedule.methods == {"hmac 0", "sha256 0", "sha256 1"} for schedule in schedules) > 20
    assert sum(schedule.entries_rolled_up for schedule in schedules) > 30
    assert all(schedule.log.refused for schedule in schedules if schedule.weather.limit_tokens <= 20)


def test_a_seed_reproduces_its_schedule() -> None:
    first, second = (Schedule(11) for _ in range(2))
    assert first.run() == second.run() == []
    assert first.rows._tables == second.rows._tables
    assert first.faults.by_kind == second.faults.by_kind


def _plain(lanes: int) -> Weather:
    """A schedule of a few clients of two processes, whose limit admits most requests."""
    start = datetime(2026, 11, 22, 12, tzinfo=UTC)
    return Weather(
        fault_rate=0,
        crash_rate=0,
        clients=5,
        processes=2,
        limit_tokens=70,
        unsound=0,
        start=start,
        closes=True,
        lanes=(lanes, lanes),
    )


@pytest.mark.timeout(600)
@pytest.mark.parametrize("lanes", [1, 2])
def test_a_process_may_die_at_every_one_of_its_awaits(lanes: int) -> None:
    """Runs one schedule repeatedly. Each time the first process dies before or after another storage call."""
    undisturbed = Schedule(5, _plain(lanes))
    assert undisturbed.run() == []
    assert (undisturbed.entries[EntryKind.TRANSFER_IN] > 2) == (lanes > 1)
    calls = undisturbed.processes[0].store.calls
    assert calls > 20
    for call in range(1, calls + 1):
        for is_after in (False, True):
            schedule = Schedule(5, _plain(lanes))
            schedule.processes[0].store.dies_at = (call, is_after)
            assert schedule.run() == [], f"killed {'after' if is_after else 'before'} call {call}"
            assert schedule.processes[0].store.is_dead
