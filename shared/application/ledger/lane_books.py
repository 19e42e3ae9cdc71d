"""Sum the entries of one lane, and check each against those before it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from shared.application.ledger.audited_limits import BookedLimit
from shared.application.ledger.chain_report import ChainReport
from shared.application.ledger.findings import Finding, finding_at, findings_of
from shared.application.ledger.moving_lane import TERMINAL
from shared.application.ledger.transfers import Transfers
from shared.application.ports.books import Books, Place, StoredEntry
from shared.domain.audit.hash_chain import SHA256, ChainVerifier, Link
from shared.domain.errors import UnpricedModel
from shared.domain.ledger.amounts import NOTHING, Amount, Limit
from shared.domain.ledger.balance import RECENT_COMMITS, Lane
from shared.domain.ledger.entries import EntryKind, LedgerEntry
from shared.domain.ledger.entry_cost import charges
from shared.domain.ledger.grants import grant_of_reference
from shared.domain.ledger.rollup import Rollup, RollupKey, rollup_of
from shared.domain.pricing.price_book import PriceBook
from shared.domain.pricing.usage import NOTHING_USED, Usage


class StringSet(Protocol):
    """A set of strings that may not fit into memory."""

    def add(self, member: str, /) -> None:
        """Add `member` to the set."""
        ...

    def __contains__(self, member: object, /) -> bool:
        """Tell whether the set contains `member`."""
        ...


@dataclass(slots=True, kw_only=True)
class LaneBooks:
    """The sums of one lane's entries, which are added in order, and the violations found so far."""

    lane: Lane
    books: Books
    chain: ChainVerifier
    prices: PriceBook
    transfers: Transfers
    resolved: StringSet
    """The rids of all terminal entries."""
    head: str
    limit: Limit
    anchored: Mapping[int, str] = field(default_factory=dict)
    """The hashes of the anchored entries, by number."""
    asked: int = 0
    """The number of the last entry that was asked for. Fewer were added if some are missing."""
    seq: int = 0
    used: Amount = NOTHING
    excess: Amount = NOTHING
    transferred: Amount = NOTHING
    granted: Amount = NOTHING
    booked_limits: list[BookedLimit] = field(default_factory=list)
    """The limit entries, if the lane is the vault."""
    limit_entries: int = 0
    is_limit0_proven: bool = True
    """The first limit entry tells the limit before it, or there is none."""
    was_lowered: bool = False
    """A limit entry has a lower limit than was in force before it."""
    last_kind: EntryKind | None = None
    closed_balance: str = ""
    """The SHA-256 that the close states of the balance; empty if there is none, or one of an earlier version."""
    commits: int = 0
    """The number of commits that wrote an entry."""
    recent_commits: deque[tuple[str, int]] = field(default_factory=lambda: deque(maxlen=RECENT_COMMITS))
    """The last commits that wrote entries: their ids, and the numbers of reservations that they resolved."""
    watermark: int = 0
    rollups: dict[RollupKey, Rollup] = field(default_factory=dict)
    expired: dict[str, tuple[Amount, Usage]] = field(default_factory=dict)
    """The charges of expired reservations without a late settlement, by rid."""
    marks: set[str] = field(default_factory=set)
    """The keys of the rows `L` that entries were written with."""
    sides: dict[str, tuple[EntryKind, int, Amount]] = field(default_factory=dict)
    """The lane's sides of transfers: kind of entry, number of the other lane, and amount, by transfer id."""
    chained: ChainReport = field(default_factory=ChainReport)
    key_ends: Mapping[str, str] = field(default_factory=dict)
    """The timestamps from which versions of the chain key must not sign any more, by version."""
    latest: str = ""
    """The latest timestamp of all entries so far."""
    violations: list[Finding] = field(default_factory=list)

    def add(self, stored: StoredEntry) -> None:
        """Add the next entry, and check it against those before it."""
        self.seq += 1
        self._check_row(stored)
        entry = stored.entry
        if entry is None:
            return
        if self.last_kind is EntryKind.CLOSE:
            self._violate("I9", stored.key, f"entry {entry.seq} follows the close")
        self.used += entry.amount
        self.last_kind = entry.kind
        self.closed_balance = entry.balance_sha256
        self._count_commit(entry)
        if entry.kind in TERMINAL:
            self._add_terminal(entry, stored.key)
        else:
            self._add_other(entry, stored)
        self._check_cost(entry, stored.key)
        if entry.seq <= self.watermark:
            self.roll_up(entry)

    def roll_up(self, entry: LedgerEntry) -> None:
        """Add an entry up to the watermark to the rollups."""
        if found := rollup_of(entry):
            key, added = found
            self.rollups[key] = self.rollups.get(key, Rollup()) + added

    def anchored_beyond(self) -> Iterator[Finding]:
        """Yield the last anchored entry, if the lane does not have it."""
        last = max(self.anchored, default=0)
        if last > self.seq:
            message = f"entry {last} was anchored, and the lane ends at entry {self.seq}"
            yield finding_at(self.place("B"), "I2", message)

    def opening(self, limit: Limit) -> BookedLimit:
        """Return the limit under which the lane was opened, which no entry tells. Its time is that of the period."""
        return BookedLimit(
            tenant_id=self.lane.tenant_id,
            period=self.lane.period,
            seq=0,
            timestamp=self.lane.period,
            limit=limit,
            granted=NOTHING,
            grant_id="",
            place=self.place("B", "limit0_tokens"),
        )

    def place(self, row: str, property_name: str = "") -> Place:
        """Return the place of a row of the lane."""
        return self.books.place(self.lane, row, property_name)

    def _check_row(self, stored: StoredEntry) -> None:
        """Check the number and the form of a row, and that its stored properties continue the chain."""
        sealed = stored.sealed
        seq = sealed.covered.get("seq")
        if stored.key != self.books.entry_key(self.seq) or seq != self.seq:
            self._violate("I1", stored.key, f"entry {seq} stands where {self.seq} belongs")
        link = self.chain.check(self.head, sealed)
        if link.fault or not link.is_key_known or stored.mistyped or stored.entry is None:
            faults = self.books.entry_faults(self.lane, stored)
            self.violations += findings_of(faults, "I15")
        if link.fault:
            self._violate("I2", stored.key, f"entry {seq} {link.fault}", link.property_name)
        if self.anchored.get(self.seq, sealed.hash) != sealed.hash:
            self._violate("I2", stored.key, f"entry {self.seq} is not the one that was anchored")
        self._check_end(link, stored)
        self.head = sealed.hash  # continue from the stored hash, so that one edited entry gives one violation

    def _check_end(self, link: Link, stored: StoredEntry) -> None:
        """Check that the key that signed an entry was still in use. Whoever has stolen a key also writes times."""
        timestamp = stored.entry.timestamp if stored.entry else ""
        self.chained.add(link, timestamp, is_anchored=self.anchored.get(self.seq) == stored.sealed.hash)
        self.latest = max(self.latest, timestamp)
        end = self.key_ends.get(link.key_version, "")
        if end and self.latest >= end:
            message = f"entry {self.seq} was signed by key version {link.key_version} after {end}, its end"
            self._violate("I2", stored.key, message, "key_version" if link.method == SHA256 else "")

    def _count_commit(self, entry: LedgerEntry) -> None:
        commit_id, resolved = self.recent_commits[-1] if self.recent_commits else ("", 0)
        if self.recent_commits and entry.commit_id == commit_id:
            self.recent_commits.pop()
        else:
            self.commits += 1
            resolved = 0
        self.recent_commits.append((entry.commit_id, resolved + (entry.kind in TERMINAL)))

    def _add_terminal(self, entry: LedgerEntry, key: str) -> None:
        if entry.rid in self.resolved:
            self._violate("I5", key, f"entry {entry.seq} resolves {entry.rid} again")
        self.resolved.add(entry.rid)
        if entry.kind is EntryKind.EXPIRE:
            self.expired[entry.rid] = entry.amount, entry.outcome.usage if entry.outcome else NOTHING_USED
        self.excess += entry.amount.excess_over(entry.reserved)

    def _add_other(self, entry: LedgerEntry, stored: StoredEntry) -> None:
        if stored.mark:
            self._add_mark(entry, stored)
        if entry.kind is EntryKind.LATE:
            if self.expired.pop(entry.rid, None) is None:
                self._violate("I6", stored.key, f"entry {entry.seq} is late without an expiry of {entry.rid}")
            self.excess += entry.amount.excess_over(Amount())
        elif entry.kind is EntryKind.ADJUST:
            self.excess += entry.amount.excess_over(Amount())
        elif entry.transferred is not None:
            self._add_transfer(entry, entry.transferred, stored.key)
        elif entry.limit is not None:
            self._change_limit(entry, entry.limit, stored)

    def _add_mark(self, entry: LedgerEntry, stored: StoredEntry) -> None:
        if stored.mark in self.marks:
            invariant, what = ("I6", "adjusts") if entry.kind is EntryKind.ADJUST else ("I8", "grants")
            self._violate(invariant, stored.key, f"entry {entry.seq} {what} {entry.reference} again")
        self.marks.add(stored.mark)

    def _add_transfer(self, entry: LedgerEntry, transferred: Amount, key: str) -> None:
        self.transferred += transferred
        self.transfers.add(self.lane, entry, self.place(key))
        other, _, xid = entry.reference.partition("/")
        sent = Amount() - transferred if entry.kind is EntryKind.TRANSFER_OUT else transferred
        self.sides[xid] = entry.kind, int(other) if other.isdecimal() else -1, sent

    def _change_limit(self, entry: LedgerEntry, limit: Limit, stored: StoredEntry) -> None:
        before, self.limit = self.limit, limit
        if entry.previous_limit is None:
            self.is_limit0_proven &= self.limit_entries > 0  # an entry of an earlier version does not tell
        elif entry.previous_limit != before:
            key, name = (stored.key, "before_tokens") if self.limit_entries else ("B", "limit0_tokens")
            self._violate(
                "I8", key, f"the limit before entry {entry.seq} was {entry.previous_limit}, not {before}", name
            )
        self.limit_entries += 1
        granted = NOTHING
        if stored.mark:
            granted = Amount(_change(before.tokens, limit.tokens), _change(before.pusd, limit.pusd))
            self.granted += granted
        self._keep_limit(entry, limit, granted, stored)
        for old, new in ((before.tokens, limit.tokens), (before.pusd, limit.pusd)):
            self.was_lowered |= new is not None and (old is None or new < old)

    def _keep_limit(self, entry: LedgerEntry, limit: Limit, granted: Amount, stored: StoredEntry) -> None:
        self.booked_limits.append(
            BookedLimit(
                tenant_id=self.lane.tenant_id,
                period=self.lane.period,
                seq=entry.seq,
                timestamp=entry.timestamp,
                limit=limit.plus(NOTHING - self.granted),
                granted=granted,
                grant_id=grant_of_reference(entry.reference) if stored.mark else "",
                place=self.place(stored.key),
            )
        )

    def _check_cost(self, entry: LedgerEntry, key: str) -> None:
        if entry.attempt is None or entry.outcome is None:
            return
        usage, amount = entry.outcome.usage, entry.amount
        try:
            parts = charges(entry.attempt, entry.outcome)
            cost = sum(self.prices.of_version(version).cost(part) for version, part in parts)
        except UnpricedModel as error:
            self._violate("I10", key, f"entry {entry.seq}: {error}", "price_version")
            return
        if cost != amount.pusd:
            self._violate("I10", key, f"entry {entry.seq} costs {amount.pusd}, not {cost} pUSD", "pusd")
        if usage.total_tokens != amount.tokens:
            message = f"entry {entry.seq} has {amount.tokens}, not {usage.total_tokens} tokens"
            self._violate("I10", key, message, "tokens")

    def _violate(self, invariant: str, key: str, message: str, property_name: str = "") -> None:
        self.violations.append(finding_at(self.place(key, property_name), invariant, message))


def _change(before: int | None, after: int | None) -> int:
    """Return the change of a limit; 0 where there was none or is none."""
    return 0 if before is None or after is None else after - before
