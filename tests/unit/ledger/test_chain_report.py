"""The report tells by which method and key version entries are chained, and what no known key proves."""

from __future__ import annotations

import pytest

from shared.application.ledger.chain_report import ChainReport
from shared.domain.audit.hash_chain import Link

EARLY, LATE = "2026-11-01T00:00:00.000Z", "2026-11-02T00:00:00.000Z"


SIGNED, LOST = Link(method="sha256", key_version="1"), Link(method="sha256", key_version="9", is_key_known=False)
EARLIER = Link(method="hmac", key_version="0")
UNKNOWABLE = Link(method="hmac", key_version="0", is_key_known=False)
EDITED = Link(method="sha256", key_version="9", is_key_known=False, fault="does not continue the chain")


@pytest.mark.parametrize(
    ("links", "anchored", "open_entries"),
    [
        ([LOST, LOST], {2}, 0),
        ([LOST, LOST, LOST], {2}, 1),
        ([LOST, SIGNED, EARLIER], {3}, 0),
        ([LOST, UNKNOWABLE, LOST], {3}, 1),
        ([LOST, UNKNOWABLE, LOST], {1, 3}, 0),
        ([LOST, EDITED, LOST], {3}, 2),
        ([LOST], set(), 1),
    ],
)
def test_an_anchor_proves_the_entries_that_checked_ones_bind_to_it(
    links: list[Link], anchored: set[int], open_entries: int
) -> None:
    made, all_lanes = ChainReport(), ChainReport()
    for seq, link in enumerate(links, start=1):
        made.add(link, EARLY, is_anchored=seq in anchored)
    all_lanes.merge(made)
    for each in (made, all_lanes):
        rows = each.rows()
        assert sum(row.entries for row in rows) == len(links)
        assert sum(row.entries for row in rows if row.is_open and row.method == "sha256") == open_entries
        assert sum(row.entries for row in rows if row.is_open and row.method == "hmac") == links.count(UNKNOWABLE)


@pytest.mark.parametrize(
    ("links", "heads", "proved"),
    [
        ([SIGNED, SIGNED, SIGNED], {2}, 2),
        ([LOST, EARLIER, LOST], {3}, 3),
        ([SIGNED, UNKNOWABLE, SIGNED], {3}, 1),
        ([SIGNED, UNKNOWABLE, SIGNED], {1, 2, 3}, 2),
        ([SIGNED, EDITED, SIGNED], {2}, 0),
        ([SIGNED], set(), 0),
    ],
)
def test_only_entries_that_computed_hashes_bind_to_an_anchor_are_counted_as_proved(
    links: list[Link], heads: set[int], proved: int
) -> None:
    made, all_lanes = ChainReport(), ChainReport()
    for seq, link in enumerate(links, start=1):
        made.add(link, EARLY, is_anchored=seq in heads)
    for _ in range(2):
        all_lanes.merge(made)
    assert (made.anchored, all_lanes.anchored) == (proved, 2 * proved)


def test_a_missing_key_of_anchored_entries_is_told_and_leaves_nothing_open() -> None:
    made = ChainReport()
    made.add(LOST, EARLY, is_anchored=True)
    (told,) = made.unproven()
    reason = "mac not checked of 1 entry: key version 9 is not known; without it a mac is no evidence, but "
    reason += "anchors prove these entries"
    assert (told.reason, told.is_open) == (reason, False)


def report(*links: tuple[Link, str]) -> ChainReport:
    made = ChainReport()
    for link, timestamp in links:
        made.add(link, timestamp)
    return made


def test_lanes_are_counted_together_with_the_time_of_their_last_entry() -> None:
    signed, earlier = Link(method="sha256", key_version="1"), Link(method="hmac", key_version="0")
    both = report((signed, LATE), (earlier, EARLY))
    both.merge(report((signed, EARLY)))
    rows = [(row.method, row.key_version, row.entries, row.last) for row in both.rows()]
    assert rows == [("hmac", "0", 1, EARLY), ("sha256", "1", 2, LATE)]
    assert [*both.unproven()] == []


@pytest.mark.parametrize(
    ("link", "entries", "reason"),
    [
        (
            Link(method="sha256", key_version="1", is_key_known=False),
            1,
            "mac not checked of 1 entry: key version 1 is not known",
        ),
        (
            Link(method="hmac", key_version="0", is_key_known=False),
            2,
            "2 entries cannot be proved without key version 0, which is missing",
        ),
    ],
)
def test_a_missing_key_leaves_the_chain_open(link: Link, entries: int, reason: str) -> None:
    (missing,) = report(*[(link, EARLY)] * entries).unproven()
    assert (missing.invariant, missing.reason, missing.is_open) == ("I2", reason, True)


def test_a_time_that_is_none_is_not_told() -> None:
    link = Link(method="sha256", key_version="1")
    assert [row.last for row in report((link, EARLY), (link, "\x1b[2J"), (link, "zzzz")).rows()] == [EARLY]
