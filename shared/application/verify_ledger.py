"""Check the books of a period against the invariants of docs/ledger.md."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from shared.application.ports import Ledger, PriceStore, RollupStore
from shared.domain.audit import HashChain
from shared.domain.errors import UnpricedModel
from shared.domain.ledger import Amount, Balance, EntryKind, LaneState, LedgerEntry
from shared.domain.pricing import PriceBook
from shared.domain.rollup import Rollup, RollupKey, rollup_of
from shared.domain.values import value

INVARIANTS = {
    "I1": "entries of a lane are exactly 1..B.seq",
    "I2": "the chain recomputes and ends at B.head",
    "I3": "B.used = sum of entry amounts",
    "I4": "B.reserved = sum of open reservations, and their number is B.open",
    "I5": "each rid has exactly one of open reservation and terminal entry",
    "I6": "late entries belong to expired reservations, at most one each, and so do adjustments",
    "I7": "excess = sum(max(0, actual - what was still held)); used + reserved <= limit + excess",
    "I9": "CLOSED: no open reservation, the last entry is close",
    "I10": "entry cost = price(usage, price version)",
    "I11": "rollups = entries up to the watermark",
}
_TERMINAL = frozenset({EntryKind.CHARGE, EntryKind.VOID, EntryKind.EXPIRE})
_ATTEMPTS_ON_MOVING_LANE = 20


@value
class Finding:
    """One violation, with the row or sum that shows it."""

    invariant: str
    tenant_id: str
    message: str


@dataclass(slots=True)
class _Books:
    """What the entries of one lane add up to."""

    chain: HashChain
    prices: PriceBook
    head: str
    seq: int = 0
    used: Amount = Amount()
    excess: Amount = Amount()
    last_kind: EntryKind | None = None
    watermark: int = 0
    rollups: dict[RollupKey, Rollup] = field(default_factory=dict)
    resolved: set[str] = field(default_factory=set)
    expired: set[str] = field(default_factory=set)
    adjusted: set[str] = field(default_factory=set)
    findings: list[tuple[str, str]] = field(default_factory=list)

    def add(self, entry: LedgerEntry) -> None:
        self.seq += 1
        self._expect("I1", entry.seq == self.seq, f"entry {entry.seq} stands where {self.seq} belongs")
        self.head = self.chain.extend(self.head, entry.fields())
        self._expect("I2", entry.hash == self.head, f"entry {entry.seq} does not continue the chain")
        self.head = entry.hash
        self.used += entry.amount
        self.last_kind = entry.kind
        if entry.kind in _TERMINAL:
            self._add_terminal(entry)
        elif entry.kind is EntryKind.LATE:
            was_expired = entry.rid in self.expired
            self._expect("I6", was_expired, f"entry {entry.seq} is late without an expiry of {entry.rid}")
            self.expired.discard(entry.rid)
            self.excess += entry.amount.beyond(Amount())
        elif entry.kind is EntryKind.ADJUST:
            self._expect(
                "I6", entry.reference not in self.adjusted, f"entry {entry.seq} adjusts {entry.reference} again"
            )
            self.adjusted.add(entry.reference)
            self.excess += entry.amount.beyond(Amount())
        self._check_cost(entry)
        if entry.seq <= self.watermark and (found := rollup_of(entry)):
            key, added = found
            self.rollups[key] = self.rollups.get(key, Rollup()) + added

    def _add_terminal(self, entry: LedgerEntry) -> None:
        self._expect("I5", entry.rid not in self.resolved, f"entry {entry.seq} resolves {entry.rid} again")
        self.resolved.add(entry.rid)
        if entry.kind is EntryKind.EXPIRE:
            self.expired.add(entry.rid)
        self.excess += entry.amount.beyond(entry.reserved)

    def _check_cost(self, entry: LedgerEntry) -> None:
        if entry.attempt is None or entry.outcome is None:
            return
        try:
            cost = self.prices.of_version(entry.attempt.price_version).cost(entry.outcome.usage)
        except UnpricedModel as error:
            self.findings.append(("I10", f"entry {entry.seq}: {error}"))
            return
        tokens = entry.outcome.usage.total_tokens
        self._expect("I10", cost == entry.amount.pusd, f"entry {entry.seq} costs {entry.amount.pusd}, not {cost} pUSD")
        self._expect("I10", tokens == entry.amount.tokens, f"entry {entry.seq} has {entry.amount.tokens}, not {tokens}")

    def _expect(self, invariant: str, holds: bool, message: str) -> None:  # noqa: FBT001 - reads as a sentence
        if not holds:
            self.findings.append((invariant, message))

    def compare_rollups(self, stored: Mapping[RollupKey, Rollup]) -> None:
        """Compare the sums of the entries up to the watermark with those that are stored."""
        for key in self.rollups.keys() | stored.keys():
            summed, found = self.rollups.get(key), stored.get(key)
            self._expect("I11", summed == found, f"the rollup of {key} is {found}, its entries sum to {summed}")

    def compare(self, balance: Balance, held: dict[str, Amount]) -> None:
        """Compare the sums with the balance row and the open reservations."""
        reserved = sum(held.values(), Amount())
        both = self.resolved & held.keys()
        committed = balance.used + balance.reserved
        self._expect("I1", self.seq == balance.seq, f"{self.seq} entries, the balance says {balance.seq}")
        self._expect("I2", self.head == balance.head, "the chain does not end at the balance's head")
        self._expect("I3", self.used == balance.used, f"entries sum to {self.used}, the balance says {balance.used}")
        self._expect("I4", reserved == balance.reserved, f"holds sum to {reserved}, not {balance.reserved}")
        self._expect(
            "I4", len(held) == balance.open_reservations, f"{len(held)} holds, not {balance.open_reservations}"
        )
        self._expect("I5", not both, f"open and resolved at once: {', '.join(sorted(both))}")
        self._expect("I7", self.excess == balance.excess, f"excess is {self.excess}, the balance says {balance.excess}")
        for unit in ("tokens", "pusd"):
            first, limit = getattr(balance.limit0, unit), getattr(balance.limit, unit)
            was_lowered = limit is not None and (first is None or limit < first)
            is_kept = limit is None or getattr(committed, unit) <= limit + getattr(balance.excess, unit)
            self._expect("I7", is_kept or was_lowered, f"used and reserved {unit} exceed limit and excess")
        if balance.state is LaneState.CLOSED:
            is_closed = self.last_kind is EntryKind.CLOSE and not held
            self._expect("I9", is_closed, "the lane is CLOSED, but its last entry is not close or a hold is open")


class VerifyLedger:
    """Reads every lane of a period. A lane that moves while it is read is read again."""

    def __init__(self, ledger: Ledger, rollups: RollupStore, prices: PriceStore, chain: HashChain) -> None:
        self._ledger = ledger
        self._rollups = rollups
        self._prices = prices
        self._chain = chain

    async def __call__(self, period: str, only: str | None = None) -> AsyncIterator[tuple[str, list[Finding]]]:
        """Each tenant, or only one, with what is wrong with its books."""
        prices = PriceBook(await self._prices.load())
        async for tenant_id in self._ledger.tenants(period):
            if only not in (None, tenant_id):
                continue
            found = await self._lane(tenant_id, period, prices)
            yield tenant_id, [Finding(invariant, tenant_id, message) for invariant, message in found]

    async def _lane(self, tenant_id: str, period: str, prices: PriceBook) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        for _ in range(_ATTEMPTS_ON_MOVING_LANE):
            balance = await self._ledger.balance(tenant_id, period)
            if balance is None:
                return []
            mark = await self._rollups.watermark(tenant_id, period)
            books = _Books(self._chain, prices, self._ledger.genesis(tenant_id, period), watermark=mark.seq)
            async for entry in self._ledger.entries(tenant_id, period, 1, balance.seq):
                books.add(entry)
            held = {hold.rid: hold.amount async for hold in self._ledger.reservations(tenant_id, period)}
            books.compare(balance, held)
            books.compare_rollups({key: sums async for key, sums in self._rollups.rows(tenant_id, period)})
            found = books.findings
            after = await self._ledger.balance(tenant_id, period)
            is_rolled = (await self._rollups.watermark(tenant_id, period)).seq == mark.seq
            if not found or (is_rolled and after is not None and after.version == balance.version):
                return found
        return [*found, ("I4", f"the lane moved during each of {_ATTEMPTS_ON_MOVING_LANE} readings")]
