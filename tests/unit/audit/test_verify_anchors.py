"""The replay of a log of heads tells the first thing that is wrong, and what is no violation by itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from shared.application.audit.verify_anchors import AnchorReplay
from shared.domain.audit.anchor_files import ChainHead, checkpoint_path, format_heads, heads_path, heads_root, leaf_path
from shared.domain.audit.signed_note import PublicKey
from tests.tools.anchor_logs import ORIGIN, START, WrittenLog, head, messages, trusted, unread


@pytest.fixture
def log() -> WrittenLog:
    """A log of five leaves: two lanes that grow."""
    written = WrittenLog()
    for n in range(5):
        written.write(head("acme|00", n), head("blue|00", 3 if n < 2 else 7))
    return written


def test_a_log_that_is_as_it_was_written_has_no_finding(log: WrittenLog) -> None:
    replay, found = log.replayed(origin="")
    assert (messages(found), replay.notes) == ("", [])
    assert (replay.origin, replay.size, replay.signed_size, replay.is_broken) == (ORIGIN, 5, 5, False)
    assert (replay.first_at, replay.last_at) == ("2026-11-22T12:00:00.000Z", "2026-11-22T12:20:00.000Z")
    assert replay.heads["ledger/2026-11/acme|00"] == head("acme|00", 4)


def test_each_new_head_is_handed_on_once(log: WrittenLog) -> None:
    got: list[ChainHead] = []
    replay = AnchorReplay(trusted(), on_heads=got.extend)
    for n in range(5):
        assert not [*replay.add(log.of(n))]
    assert [each.seq for each in got if "acme" in each.chain] == [0, 1, 2, 3, 4]
    assert [each.seq for each in got if "blue" in each.chain] == [3, 7]


def test_a_log_without_leaves_has_no_finding() -> None:
    replay, found = WrittenLog().replayed()
    assert (found, replay.notes, replay.final) == ([], [], ())


@pytest.mark.parametrize("n", range(5))
def test_a_missing_leaf_is_told_and_nothing_after_it_is_proved(log: WrittenLog, n: int) -> None:
    del log.files[leaf_path(n)]
    replay, found = log.replayed()
    assert messages(found) == f"{leaf_path(n)} : leaf {n} is missing: nothing after it can be proved"
    assert (replay.is_broken, replay.size) == (True, n)


def test_files_of_another_leaf_do_not_pass_as_the_next(log: WrittenLog) -> None:
    replay = AnchorReplay(trusted())
    assert "leaf 0 is missing" in messages(replay.add(log.of(1)))


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff"])
def test_a_leaf_that_cannot_be_read_is_told(log: WrittenLog, content: bytes) -> None:
    log.files[leaf_path(2)] = content
    assert "leaf 2 cannot be read" in messages(log.replayed()[1])


@pytest.mark.parametrize("size", range(1, 5))
def test_a_missing_checkpoint_is_told(log: WrittenLog, size: int) -> None:
    del log.files[checkpoint_path(size)]
    _, found = log.replayed()
    assert messages(found) == f"{checkpoint_path(size)} : the checkpoint is missing or wrong, and a later leaf exists"


def test_the_newest_leaf_may_be_unsigned(log: WrittenLog) -> None:
    del log.files[checkpoint_path(5)]
    replay, found = log.replayed()
    assert not found
    assert "leaf 4 is not signed yet" in replay.notes[0]
    assert replay.signed_size == 4


def test_a_leaf_that_was_changed_does_not_match_its_checkpoint_nor_later_ones(log: WrittenLog) -> None:
    changed = replace(log.leaves[1], at="2026-11-22T12:05:00.001Z")
    log.files[leaf_path(1)] = changed.to_bytes()
    _, found = log.replayed()
    assert [each.path for each in found] == [checkpoint_path(size) for size in (2, 3, 4, 5)]
    assert {each.message for each in found} == {"the signed root is not that of the leaves"}


def test_a_checkpoint_in_the_place_of_another_is_told(log: WrittenLog) -> None:
    log.files[checkpoint_path(3)] = log.files[checkpoint_path(2)]
    assert messages(log.replayed()[1]) == f"{checkpoint_path(3)} : the signed root is not that of the leaves"


@pytest.mark.parametrize("keys", [trusted("another"), []])
def test_checkpoints_of_an_unknown_key_are_not_valid(log: WrittenLog, keys: list[PublicKey]) -> None:
    _, found = log.replayed(keys=keys)
    assert messages(found).count("no known key has signed the note") == 5


def test_a_log_that_was_signed_again_by_another_key_is_told(log: WrittenLog) -> None:
    log.keys = ("another",)
    log.write_leaf(4, replace(log.leaves[4], at="2026-11-22T12:21:00.000Z"))
    assert messages(log.replayed()[1]).startswith(f"{checkpoint_path(5)} : the checkpoint is not valid: no known key")


def test_a_checkpoint_of_another_log_is_told(log: WrittenLog) -> None:
    _, found = log.replayed(origin="tallygate/other")
    assert messages(found).count("is of the log 'tallygate/books', not of 'tallygate/other'") == 5


def test_logs_of_two_origins_are_not_mixed(log: WrittenLog) -> None:
    log.origin = "tallygate/other"
    log.write(head("acme|00", 5), head("blue|00", 7))
    assert "is of the log 'tallygate/other'" in messages(log.replayed(origin="")[1])


def test_two_keys_overlap_while_one_replaces_the_other() -> None:
    log = WrittenLog()
    for keys in (("first",), ("first", "second"), ("second",)):
        log.keys = keys
        log.write(head("acme|00", 1))
    assert not log.replayed(keys=trusted("first", "second"))[1]
    assert [each.path for each in log.replayed(keys=trusted("first"))[1]] == [checkpoint_path(3)]
    assert [each.path for each in log.replayed(keys=trusted("second"))[1]] == [checkpoint_path(1)]


def test_heads_that_are_missing_damaged_or_others_are_told(log: WrittenLog) -> None:
    del log.files[heads_path(1)]
    log.files[heads_path(2)] = b"[]\n"
    log.files[heads_path(3)] = format_heads([head("acme|00", 4)])
    told = messages(log.replayed()[1])
    assert "the heads of leaf 1 are missing" in told
    assert "the heads of leaf 2 cannot be read" in told
    assert "the heads are not those of leaf 3" in told


@pytest.mark.parametrize(
    ("then", "fault"),
    [
        ([head("acme|00", 3)], "the chain has 3 entries; before it had 5"),
        ([head("acme|00", 5, branch="forged")], "the chain has another entry 5 than before"),
        ([], "the chain is missing; before it had 5 entries"),
    ],
)
def test_a_chain_that_lost_entries_is_told_once(then: list[ChainHead], fault: str) -> None:
    log = WrittenLog()
    log.write(head("acme|00", 5), head("blue|00", 1))
    for _ in range(3):
        log.write(*then, head("blue|00", 1))
    assert messages(log.replayed()[1]) == f"{heads_path(1)} ledger/2026-11/acme|00: leaf 1: {fault}"


def test_a_chain_that_could_not_be_read_is_a_note_and_is_compared_afterwards() -> None:
    log = WrittenLog()
    log.write(head("acme|00", 5), unread("blue|00"))
    log.write(unread("acme|00"), unread("blue|00"))
    log.write(head("acme|00", 4), head("blue|00", 1))
    replay, found = log.replayed()
    assert messages(found).endswith("leaf 2: the chain has 4 entries; before it had 5")
    assert ["could not be read" in note for note in replay.notes] == [True, True]


def test_closed_chains_are_left_out_once_they_are_final() -> None:
    log = WrittenLog()
    old = [head(lane, 5, closed=True, period="2026-10") for lane in ("acme|00", "blue|00")]
    log.write(*old, head("acme|00", 0))
    log.write(head("acme|00", 1))
    log.write(head("acme|00", 2))
    replay, found = log.replayed()
    assert (found, replay.final) == ([], ("ledger/2026-10",))


def test_a_chain_that_is_left_out_before_its_group_is_final_is_told() -> None:
    log = WrittenLog()
    log.write(head("acme|00", 5, closed=True, period="2026-10"), head("blue|00", 1, period="2026-10"))
    log.write(head("blue|00", 2, period="2026-10", closed=True))
    assert "acme|00: leaf 1: the chain is missing" in messages(log.replayed()[1])


def test_a_chain_that_comes_back_after_it_was_final_is_told() -> None:
    log = WrittenLog()
    log.write(head("acme|00", 5, closed=True))
    log.write(head("acme|00", 5, closed=True))
    assert "is there again, although no chain of ledger/2026-11" in messages(log.replayed()[1])


def test_a_closed_chain_that_grows_is_told() -> None:
    log = WrittenLog()
    log.write(head("acme|00", 5, closed=True), head("blue|00", 1))
    log.write(head("acme|00", 6), head("blue|00", 1))
    assert "changed after entry 5, which closed it" in messages(log.replayed()[1])


def test_a_leaf_that_calls_a_group_final_too_early_or_forgets_one_is_told() -> None:
    log = WrittenLog()
    log.write(head("acme|00", 5))
    log.write_leaf(0, replace(log.leaves[0], final=("ledger/2026-11",)))
    log.write(head("acme|00", 1, period="2026-12"))
    log.write_leaf(1, replace(log.leaves[1], final=()))
    told = messages(log.replayed()[1])
    assert "leaf 0 does not name the groups that are final" in told
    assert "leaf 1 does not name the groups that are final" in told


def test_times_without_anchors_are_notes() -> None:
    log = WrittenLog()
    for minutes in (0, 5, 15, 26, 20):
        log.write(head("acme|00", minutes), at=START + timedelta(minutes=minutes))
    replay, found = log.replayed()
    assert "the chain has 20 entries; before it had 26" in messages(found)
    assert replay.notes[0].startswith("no anchor for 11 minutes: leaf 2 2026-11-22T12:15")
    assert replay.notes[1].startswith("the clock went back from 2026-11-22T12:26")
    assert len(replay.notes) == 2


def test_a_leaf_of_another_number_period_or_time_is_told() -> None:
    log = WrittenLog()
    log.write(head("acme|00", 5))
    log.write(head("acme|00", 5))
    log.write_leaf(0, replace(log.leaves[0], period="2026-10"))
    log.write_leaf(1, replace(log.leaves[1], n=7, at="2026-11 soon", period="2026-11"))
    told = messages(log.replayed()[1])
    assert "leaf 0 states the number 0 and the period 2026-10" in told
    assert "leaf 1 states the number 7" in told
    assert "the time '2026-11 soon' of leaf" in told


def test_a_checkpoint_that_the_auditor_kept_must_be_in_the_log(log: WrittenLog) -> None:
    kept = [log.files[checkpoint_path(size)] for size in (2, 5)]
    assert not log.replayed(kept=[log.checkpoint(0)])[1]
    assert not log.replayed(kept=kept)[1]
    shorter = WrittenLog(files=log.files, leaves=log.leaves[:4])
    assert "over 5 leaves was kept elsewhere, and the log has only 4" in messages(shorter.replayed(kept=kept)[1])


def test_a_history_that_was_written_anew_with_the_right_key_shows_by_a_kept_checkpoint(log: WrittenLog) -> None:
    kept = log.files[checkpoint_path(3)]
    forged = WrittenLog()
    for n in range(5):
        forged.write(head("acme|00", n, branch="forged"))
    assert not forged.replayed()[1]
    _, found = forged.replayed(kept=[kept])
    assert messages(found) == f"{checkpoint_path(3)} : a checkpoint that was kept elsewhere has another root"


def test_a_kept_checkpoint_of_somebody_else_is_told(log: WrittenLog) -> None:
    log.keys = ("another",)
    _, found = log.replayed(kept=[log.checkpoint(2), b"nothing"])
    assert messages(found).count("a checkpoint that was kept elsewhere is not valid") == 2


def test_an_attacker_with_the_files_but_not_the_key_cannot_hide_a_changed_head(log: WrittenLog) -> None:
    """He rewrites heads and leaf consistently, and cannot sign the new root."""
    forged = format_heads([head("acme|00", 2, branch="forged"), head("blue|00", 7)])
    heads = [head("acme|00", 2, branch="forged"), head("blue|00", 7)]
    log.files[heads_path(2)] = forged
    log.files[leaf_path(2)] = replace(log.leaves[2], heads_root=heads_root(heads)).to_bytes()
    assert checkpoint_path(3) in {each.path for each in log.replayed()[1]}
