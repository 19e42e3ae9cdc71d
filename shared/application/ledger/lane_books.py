"""Sum the entries of one lane, and compare the sums with everything else that the lane stores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from shared.application.ledger.transfers import Transfers, Violation
from shared.domain.audit.hash_chain import HashChain
from shared.domain.errors import UnpricedModel
from shared.domain.ledger.amounts import NOTHING, Amount, Limit
from shared.domain.ledger.balance import Balance, Lane, LaneState
from shared.domain.ledger.entries import EntryKind, LedgerEntry
from shared.domain.ledger.rollup import Rollup, RollupKey, rollup_of
from shared.domain.pricing.price_book import PriceBook
from shared.domain.values import record

_TERMINAL = frozenset({EntryKind.CHARGE, EntryKind.VOID, EntryKind.EXPIRE})


class StringSet(Protocol):
    """A set of strings that may not fit into memory."""

    def add(self, member: str, /) -> None:
        """Add `member` to the set."""
        ...

    def __contains__(self, member: object, /) -> bool:
        """Tell whether the set contains `member`."""
        ...


@record
class LaneSnapshot:
    """Everything except entries that a lane stored when it was read."""

    balance: Balance
    held: Mapping[str, Amount]
    """The amounts of the open reservations, by rid."""
    rollups: Mapping[RollupKey, Rollup]
    watermark: int


@dataclass(slots=True, kw_only=True)
class LaneBooks:
    """The sums of one lane's entries, which are added in order, and the violations found so far."""

    lane: Lane
    chain: HashChain
    prices: PriceBook
    transfers: Transfers
    resolved: StringSet
    """The rids of all terminal entries."""
    head: str
    limit: Limit
    seq: int = 0
    used: Amount = NOTHING
    excess: Amount = NOTHING
    transferred: Amount = NOTHING
    last_kind: EntryKind | None = None
    watermark: int = 0
    rollups: dict[RollupKey, Rollup] = field(default_factory=dict)
    expired: set[str] = field(default_factory=set)
    """The rids of expired reservations without a late settlement."""
    adjusted: set[str] = field(default_factory=set)
    violations: list[Violation] = field(default_factory=list)

    def add(self, entry: LedgerEntry) -> None:
        """Add the next entry, and check it against those before it."""
        self.seq += 1
        self._expect("I1", entry.seq == self.seq, f"entry {entry.seq} stands where {self.seq} belongs")
        self.head = self.chain.extend(self.head, entry.fields())
        self._expect("I2", entry.hash == self.head, f"entry {entry.seq} does not continue the chain")
        self.head = entry.hash  # continue from the stored hash, so that one edited entry gives one violation
        self.used += entry.amount
        self.last_kind = entry.kind
        if entry.kind in _TERMINAL:
            self._add_terminal(entry)
        elif entry.kind is EntryKind.LATE:
            was_expired = entry.rid in self.expired
            self._expect("I6", was_expired, f"entry {entry.seq} is late without an expiry of {entry.rid}")
            self.expired.discard(entry.rid)
            self.excess += entry.amount.excess_over(Amount())
        elif entry.kind is EntryKind.ADJUST:
            self._expect(
                "I6", entry.reference not in self.adjusted, f"entry {entry.seq} adjusts {entry.reference} again"
            )
            self.adjusted.add(entry.reference)
            self.excess += entry.amount.excess_over(Amount())
        elif entry.transferred is not None:
            self.transferred += entry.transferred
            self.transfers.add(self.lane, entry)
        elif entry.limit is not None:
            self.limit = entry.limit
        self._check_cost(entry)
        if entry.seq <= self.watermark:
            self.roll_up(entry)

    def roll_up(self, entry: LedgerEntry) -> None:
        """Add an entry up to the watermark to the rollups."""
        if found := rollup_of(entry):
            key, added = found
            self.rollups[key] = self.rollups.get(key, Rollup()) + added

    def compare(self, snapshot: LaneSnapshot) -> list[Violation]:
        """Return all violations: those of the entries, and those in the comparison with a snapshot.

        Those of the comparison are not kept, because the lane may be read again.
        """
        of_entries = [*self.violations]
        self._compare_balance(snapshot.balance, snapshot.held)
        for key in self.rollups.keys() | snapshot.rollups.keys():
            summed, stored = self.rollups.get(key), snapshot.rollups.get(key)
            self._expect("I11", summed == stored, f"the rollup of {key} is {stored}, its entries sum to {summed}")
        found, self.violations = self.violations, of_entries
        return found

    def _add_terminal(self, entry: LedgerEntry) -> None:
        self._expect("I5", entry.rid not in self.resolved, f"entry {entry.seq} resolves {entry.rid} again")
        self.resolved.add(entry.rid)
        if entry.kind is EntryKind.EXPIRE:
            self.expired.add(entry.rid)
        self.excess += entry.amount.excess_over(entry.reserved)

    def _check_cost(self, entry: LedgerEntry) -> None:
        if entry.attempt is None or entry.outcome is None:
            return
        try:
            cost = self.prices.of_version(entry.attempt.price_version).cost(entry.outcome.usage)
        except UnpricedModel as error:
            self.violations.append(("I10", f"entry {entry.seq}: {error}"))
            return
        tokens = entry.outcome.usage.total_tokens
        self._expect("I10", cost == entry.amount.pusd, f"entry {entry.seq} costs {entry.amount.pusd}, not {cost} pUSD")
        self._expect(
            "I10", tokens == entry.amount.tokens, f"entry {entry.seq} has {entry.amount.tokens}, not {tokens} tokens"
        )

    def _compare_balance(self, balance: Balance, held: Mapping[str, Amount]) -> None:
        reserved = sum(held.values(), Amount())
        both = [rid for rid in held if rid in self.resolved]
        self._expect("I1", self.seq == balance.seq, f"{self.seq} entries, the balance says {balance.seq}")
        self._expect("I2", self.head == balance.head, "the chain does not end at the balance's head")
        self._expect("I3", self.used == balance.used, f"entries sum to {self.used}, the balance says {balance.used}")
        self._expect("I4", reserved == balance.reserved, f"holds sum to {reserved}, not {balance.reserved}")
        self._expect(
            "I4", len(held) == balance.open_reservations, f"{len(held)} holds, not {balance.open_reservations}"
        )
        self._expect("I5", not both, f"open and resolved at once: {', '.join(sorted(both))}")
        self._expect("I7", self.excess == balance.excess, f"excess is {self.excess}, the balance says {balance.excess}")
        self._check_limit(balance)
        self._expect("I8", self.limit == balance.limit, f"entries give {self.limit}, the balance says {balance.limit}")
        self._expect(
            "I8",
            self.transferred == balance.transferred,
            f"transfers sum to {self.transferred}, the balance says {balance.transferred}",
        )
        if balance.state is LaneState.CLOSED:
            is_closed = self.last_kind is EntryKind.CLOSE and not held
            self._expect("I9", is_closed, "the lane is CLOSED, but its last entry is not close or a hold is open")

    def _check_limit(self, balance: Balance) -> None:
        """Check that used and reserved stay within limit and excess, unless the limit was lowered below them."""
        committed = balance.used + balance.reserved
        for unit in ("tokens", "pusd"):
            first, limit = getattr(balance.limit0, unit), getattr(balance.limit, unit)
            was_lowered = limit is not None and (first is None or limit < first)
            most = None if limit is None else limit + getattr(balance.transferred, unit) + getattr(balance.excess, unit)
            is_kept = most is None or getattr(committed, unit) <= most
            self._expect("I7", is_kept or was_lowered, f"used and reserved {unit} exceed limit and excess")

    def _expect(self, invariant: str, holds: bool, message: str) -> None:  # noqa: FBT001 - reads as a sentence
        if not holds:
            self.violations.append((invariant, message))
