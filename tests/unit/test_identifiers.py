"""Billing periods, ids, names and times."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from shared.domain.errors import InvalidRequest
from shared.domain.identifiers import BillingPeriod, checked_name, new_rid, timestamp


def test_periods_follow_each_other() -> None:
    december = BillingPeriod.parse("2026-12")
    assert (str(december.next()), str(december.previous()), str(december.next().previous())) == (
        "2027-01",
        "2026-11",
        "2026-12",
    )
    assert (december.start, december.end) == (datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
    assert BillingPeriod.containing(december.end) == december.next()


def test_rids_are_uuids_of_version_7_in_order_of_time() -> None:
    rids = [new_rid() for _ in range(50)]
    assert len(set(rids)) == 50
    assert all(len(rid) == 32 and rid[12] == "7" and rid[16] in "89ab" for rid in rids)
    assert [rid[:12] for rid in rids] == sorted(rid[:12] for rid in rids)


@pytest.mark.parametrize("name", ["", " x", "x ", "a\nb", "a\x00", "x" * 129])
def test_names_are_printable_and_bounded(name: str) -> None:
    with pytest.raises(InvalidRequest):
        checked_name(name, "deployment")


def test_times_are_written_in_utc() -> None:
    assert timestamp(datetime.fromisoformat("2026-11-22T01:02:03.004567+01:00")) == "2026-11-22T00:02:03.004Z"
