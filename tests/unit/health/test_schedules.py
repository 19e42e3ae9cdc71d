"""Schedules are read as the Functions host reads them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shared.adapters.schedules import CronSchedules


@pytest.mark.parametrize(
    ("schedule", "last_due"),
    [
        ("0 * * * * *", "2026-03-10T12:34:00"),
        ("50 * * * * *", "2026-03-10T12:33:50"),
        ("0 */10 2 * * *", "2026-03-10T02:50:00"),
        ("0 0 * 1,25-31 * *", "2026-03-01T23:00:00"),
    ],
)
def test_the_last_time_at_which_a_timer_was_due(schedule: str, last_due: str) -> None:
    before = datetime(2026, 3, 10, 12, 34, 30, tzinfo=UTC)
    assert CronSchedules().last_due(schedule, before) == datetime.fromisoformat(last_due).replace(tzinfo=UTC)
