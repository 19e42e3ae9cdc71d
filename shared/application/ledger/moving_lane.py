"""Tell the rows of a lane at one commit, although it is written while its rows are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from shared.application.ports.books import LaneRows, StoredEntry
from shared.domain.ledger.amounts import Amount
from shared.domain.ledger.balance import RECENT_COMMITS, Balance
from shared.domain.ledger.entries import EntryKind, LedgerEntry
from shared.domain.values import record

TERMINAL: Final = frozenset({EntryKind.CHARGE, EntryKind.VOID, EntryKind.EXPIRE})
"""The kinds of entries that resolve a reservation."""


@record
class EarlierRows:
    """The rows of a lane that were read before a commit, and the version of the balance before that reading."""

    version: int
    rows: LaneRows


def rows_at(balance: Balance, earlier: EarlierRows, after: LaneRows, later: Sequence[StoredEntry]) -> LaneRows | None:
    """Return the rows of a lane at the commit that wrote `balance`; `None` if they cannot be told.

    - `earlier` was read before the balance, and `after` was read after it.
    - `later` are the entries after the balance's last one, at least those that were written before `after` was read.

    A reservation was open at the commit if its row was there before, or is of one of the balance's recent commits. It
    was not if its row is gone, and an entry up to the balance's last one has resolved it.
    """
    entries = [each.entry for each in later if each.entry is not None]
    if len(entries) < len(later) or balance.version - earlier.version > RECENT_COMMITS:
        return None
    before = earlier.rows
    rows = _without_later(after, later, entries)
    rows = _with_holds(balance, before, rows, entries)
    rows = _with_markers(before, rows, entries)
    return rows if _is_certain(balance, rows, before, after, entries) else None


def _without_later(after: LaneRows, later: Sequence[StoredEntry], entries: Sequence[LedgerEntry]) -> LaneRows:
    """Leave out the rows that came with later entries. Nothing deletes rows of these kinds."""
    moved = {each.reference.partition("/")[2] for each in entries if each.transferred is not None}
    return replace(
        after,
        marks=after.marks - {each.mark for each in later},
        transfers={xid: each for xid, each in after.transfers.items() if xid not in moved},
        beyond=[key for key in after.beyond if key not in {each.key for each in later}],
    )


def _with_holds(balance: Balance, before: LaneRows, after: LaneRows, entries: Sequence[LedgerEntry]) -> LaneRows:
    recent, resolved = frozenset(balance.recent), _rids(entries, TERMINAL)
    kept = {rid for rid in after.holds if rid in before.holds or after.hold_commits[rid] in recent}
    kept |= resolved & before.holds.keys()
    holds, commits = {**before.holds, **after.holds}, {**before.hold_commits, **after.hold_commits}
    return replace(after, holds={rid: holds[rid] for rid in kept}, hold_commits={rid: commits[rid] for rid in kept})


def _with_markers(before: LaneRows, after: LaneRows, entries: Sequence[LedgerEntry]) -> LaneRows:
    settled, expired = _rids(entries, {EntryKind.LATE}), _rids(entries, {EntryKind.EXPIRE})
    gone = {rid: before.markers[rid] for rid in settled & before.markers.keys()}
    there = {rid: each for rid, each in after.markers.items() if rid not in expired}
    return replace(after, markers={**gone, **there})


def _is_certain(
    balance: Balance, rows: LaneRows, before: LaneRows, after: LaneRows, entries: Sequence[LedgerEntry]
) -> bool:
    """Tell whether no row that came and went between the two readings can have been there at the commit."""
    expired, settled = _rids(entries, {EntryKind.EXPIRE}), _rids(entries, {EntryKind.LATE})
    if settled - expired - before.markers.keys() - after.markers.keys():
        return False
    unseen = _rids(entries, TERMINAL) - before.holds.keys() - after.holds.keys()
    reserved = sum((each.amount for each in rows.holds.values()), Amount())
    return not unseen or (reserved, len(rows.holds)) == (balance.reserved, balance.open_reservations)


def _rids(entries: Sequence[LedgerEntry], kinds: frozenset[EntryKind] | set[EntryKind]) -> set[str]:
    return {each.rid for each in entries if each.kind in kinds}
