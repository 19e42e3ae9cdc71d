"""Compare the sums of a lane's entries with everything else that the lane stores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeVar

from shared.application.ledger.findings import Finding, finding_at, findings_of
from shared.application.ledger.lane_books import LaneBooks
from shared.application.ports.books import LaneRows
from shared.domain.errors import UnpricedModel
from shared.domain.ledger.amounts import Amount, Limit
from shared.domain.ledger.balance import RECENT_COMMITS, Balance, LaneState
from shared.domain.ledger.entries import EntryKind
from shared.domain.ledger.operations import TransferOut
from shared.domain.values import record

T = TypeVar("T", Amount, Limit)
BALANCE_ROW = "B"
WATERMARK_ROW = "W"


@record
class LaneSnapshot:
    """Everything that a lane stored when it was read, except its entries."""

    balance: Balance
    rows: LaneRows
    mark: int
    """The watermark before the other rows were read."""
    digest: str
    """The digest of the balance's row."""
    is_steady: bool
    """Balance and rows are of one moment. Else only the balance and the entries can be compared."""


def compare_lane(books: LaneBooks, snapshot: LaneSnapshot) -> list[Finding]:
    """Return all violations: those of the entries, and those in the comparison with a snapshot.

    Those of the comparison are not kept, because the lane may be read again.
    """
    comparison = _Comparison(
        books=books,
        balance=snapshot.balance,
        rows=snapshot.rows,
        digest=snapshot.digest,
        is_steady=snapshot.is_steady,
    )
    return [*books.violations, *findings_of(snapshot.rows.faults, "I15"), *comparison.violations()]


@record
class _Comparison:
    """The sums of a lane's entries, and what they are compared with."""

    books: LaneBooks
    balance: Balance
    rows: LaneRows
    digest: str
    is_steady: bool

    def violations(self) -> Iterator[Finding]:
        yield from self._sums()
        yield from self._commits()
        yield from self._limits()
        yield from self._state()
        if self.is_steady:
            yield from self._of_other_rows()

    def _of_other_rows(self) -> Iterator[Finding]:
        yield from self._open()
        yield from self._holds()
        yield from self._markers()
        yield from self._marks()
        yield from self._transfers()
        yield from self._rollups()

    def _sums(self) -> Iterator[Finding]:
        books, balance = self.books, self.balance
        if books.seq != balance.seq:
            yield self._wrong("I1", f"{books.seq} entries, the balance says {balance.seq}", "seq")
        if books.head != balance.head:
            yield self._wrong("I2", "the chain does not end at the balance's head", "head")
        yield from self._unequal("I3", "used", books.used, balance.used, "entries sum to")
        yield from self._unequal("I7", "excess", books.excess, balance.excess, "entries sum to")

    def _open(self) -> Iterator[Finding]:
        """Compare the balance with the reservations that are open, and find entries after its last one."""
        balance, held = self.balance, len(self.rows.holds)
        for key in self.rows.beyond:
            yield self._at(key, "I1", f"an entry stands beyond {balance.seq}, the last one")
        reserved = sum((hold.amount for hold in self.rows.holds.values()), Amount())
        yield from self._unequal("I4", "reserved", reserved, balance.reserved, "holds sum to")
        if held != balance.open_reservations:
            yield self._wrong("I4", f"{held} holds, not {balance.open_reservations}", "open_reservations")

    def _commits(self) -> Iterator[Finding]:
        """Check the numbers and ids of commits, by which a committer recognizes its own after a lost answer."""
        recent, version = self.balance.recent, self.balance.version
        if self.books.commits > version:
            message = f"{self.books.commits} commits wrote entries, the balance says {version}"
            yield self._wrong("I1", message, "version")
        if len({*recent}) != min(version, RECENT_COMMITS):
            yield self._wrong("I1", f"{len({*recent})} ids of recent commits after {version} commits", "recent")
        elif self.is_steady and self.balance.state is LaneState.OPEN and (not self.balance.owner or self._is_vault):
            yield from self._untraced(recent)
        if self.balance.owner and self._is_vault:
            yield self._wrong("I15", "the vault is leased, and only other lanes are", "owner")

    @property
    def _is_vault(self) -> bool:
        return self.books.lane == self.books.lane.vault

    def _untraced(self, recent: Iterable[str]) -> Iterator[Finding]:
        """Check that each recent commit is known by what it wrote, except those that lease a lane or begin to close it.

        A commit wrote entries or reservations. Reservations are gone only if newer commits have resolved them.
        """
        terminals, holding = dict(self.books.recent_commits), set(self.rows.hold_commits.values())
        resolved = 0
        for commit_id in recent:  # newest first
            if commit_id in terminals:
                resolved += terminals[commit_id]
            elif commit_id not in holding:
                if not resolved:
                    message = f"the recent commit {commit_id} is of no entry and of no reservation"
                    yield self._wrong("I1", message, "recent")
                    return
                resolved -= 1

    def _limits(self) -> Iterator[Finding]:
        books, balance = self.books, self.balance
        yield from self._unequal("I8", "limit", books.limit, balance.limit, "entries give")
        yield from self._unequal("I8", "moved", books.transferred, balance.transferred, "transfers sum to")
        yield from self._unequal("I8", "granted", books.granted, balance.granted, "grants sum to")
        committed, transferred, excess = balance.used + balance.reserved, balance.transferred, balance.excess
        for unit in ("tokens", "pusd"):
            limit = getattr(balance.limit, unit)
            most = None if limit is None else limit + getattr(transferred, unit) + getattr(excess, unit)
            if most is not None and getattr(committed, unit) > most and not books.was_lowered:
                yield self._wrong("I7", f"used and reserved {unit} exceed limit and excess", f"used_{unit}")

    def _state(self) -> Iterator[Finding]:
        is_closed = self.balance.state is LaneState.CLOSED
        has_close = self.books.last_kind is EntryKind.CLOSE
        if is_closed and not (has_close and not self.rows.holds):
            message = "the lane is CLOSED, but its last entry is not close or a hold is open"
            yield self._wrong("I9", message, "state")
        elif has_close and not is_closed:
            yield self._wrong("I9", f"the last entry is close, but the lane is {self.balance.state}", "state")
        if self.books.closed_balance not in {"", self.digest}:
            yield self._wrong("I9", "the balance is not the one that the close left", "")

    def _holds(self) -> Iterator[Finding]:
        for rid, hold in self.rows.holds.items():
            if rid in self.books.resolved:
                yield self._at(f"P|{rid}", "I5", f"open and resolved at once: {rid}")
            try:
                self.books.prices.of_version(hold.attempt.price_version)
            except UnpricedModel as error:
                yield self._at(f"P|{rid}", "I10", f"reservation {rid}: {error}", "price_version")

    def _markers(self) -> Iterator[Finding]:
        expired, markers = self.books.expired, self.rows.markers
        for rid in sorted(expired.keys() | markers.keys()):
            if rid not in expired:
                yield self._at(f"X|{rid}", "I6", f"a marker without an expiry of {rid} that waits for its settlement")
            elif rid not in markers:
                yield self._at(f"X|{rid}", "I6", f"{rid} expired and was not settled, but its marker is missing")
            elif expired[rid] != markers[rid]:
                yield self._at(f"X|{rid}", "I6", f"the marker of {rid} is not what its expiry charged")

    def _marks(self) -> Iterator[Finding]:
        for key in sorted(self.books.marks - self.rows.marks):
            yield self._at(key, "I6", "the entry that was written with this row is there, the row is missing")
        for key in sorted(self.rows.marks - self.books.marks):
            yield self._at(key, "I6", "this row was written with no entry")

    def _transfers(self) -> Iterator[Finding]:
        stored = {
            xid: (
                EntryKind.TRANSFER_OUT if isinstance(each, TransferOut) else EntryKind.TRANSFER_IN,
                each.other,
                each.amount,
            )
            for xid, each in self.rows.transfers.items()
        }
        for xid in sorted(self.books.sides.keys() | stored.keys()):
            if self.books.sides.get(xid) != stored.get(xid):
                yield self._at(f"G|{xid}", "I8", f"the row of transfer {xid} and its entry differ, or one is missing")

    def _rollups(self) -> Iterator[Finding]:
        if self.rows.watermark > self.balance.seq:
            message = f"entries up to {self.rows.watermark} are rolled up, the balance says {self.balance.seq}"
            yield self._at(WATERMARK_ROW, "I11", message, "seq")
        summed, stored = self.books.rollups, self.rows.rollups
        for key in summed.keys() | stored.keys():
            if summed.get(key) != stored.get(key):
                message = f"the rollup of {key} is {stored.get(key)}, its entries sum to {summed.get(key)}"
                yield self._at(WATERMARK_ROW, "I11", message)

    def _unequal(self, invariant: str, prefix: str, summed: T, stated: T, verb: str) -> Iterator[Finding]:
        """Compare an amount or limit of the balance with that of the entries, in both units."""
        for unit in ("tokens", "pusd"):
            if getattr(summed, unit) != getattr(stated, unit):
                message = f"{verb} {summed}, the balance says {stated}"
                yield self._wrong(invariant, message, f"{prefix}_{unit}")

    def _wrong(self, invariant: str, message: str, property_name: str) -> Finding:
        """Return a violation in the balance."""
        return self._at(BALANCE_ROW, invariant, message, property_name)

    def _at(self, row: str, invariant: str, message: str, property_name: str = "") -> Finding:
        return finding_at(self.books.place(row, property_name), invariant, message)
