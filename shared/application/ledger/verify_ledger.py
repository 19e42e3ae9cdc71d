"""Check the books of a period against the invariants of docs/ledger.md."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from shared.application.ports.ledger import Ledger, RollupStore
from shared.application.ports.pricing import PriceStore
from shared.domain.audit.hash_chain import HashChain
from shared.domain.errors import UnpricedModel
from shared.domain.ledger.amounts import NOTHING, Amount, Limit
from shared.domain.ledger.balance import Balance, Lane, LaneState
from shared.domain.ledger.entries import EntryKind, LedgerEntry
from shared.domain.ledger.lanes import lane_limit
from shared.domain.ledger.rollup import Rollup, RollupKey, rollup_of
from shared.domain.pricing.price_book import PriceBook
from shared.domain.values import record, value

INVARIANTS = {
    "I1": "entries of a lane are exactly 1..B.seq",
    "I2": "the chain recomputes and ends at B.head",
    "I3": "B.used = sum of entry amounts",
    "I4": "B.reserved = sum of open reservations, and their number is B.open",
    "I5": "each rid has exactly one of open reservation and terminal entry",
    "I6": "late entries belong to expired reservations, at most one each, and so do adjustments",
    "I7": "excess = sum(max(0, actual - what was still held)); used + reserved <= limit + excess",
    "I8": "limit = limit0 + in - out + limit changes; lanes + in transit = the tenant's limit",
    "I9": "CLOSED: no open reservation, the last entry is close",
    "I10": "entry cost = price(usage, price version)",
    "I11": "rollups = entries up to the watermark",
    "I12": "the manifest's totals = entries; statement lines add up to the total",
    "I13": "what clients were told is booked once; every admitted reservation ends",
}
_TERMINAL = frozenset({EntryKind.CHARGE, EntryKind.VOID, EntryKind.EXPIRE})
_ATTEMPTS_ON_MOVING_LANES = 20


@value
class Finding:
    """One violation, with the row or sum that shows it."""

    invariant: str
    tenant_id: str
    message: str


class Members(Protocol):
    """A set of strings that may be too many for memory."""

    def add(self, member: str, /) -> None:
        """Make `member` one of the set."""
        ...

    def __contains__(self, member: object, /) -> bool:
        """Whether `member` is one of the set."""
        ...


@dataclass(slots=True)
class _Transfers:
    """What went out of a tenant's lanes and has not been seen to come in, and the other way round."""

    out: dict[str, tuple[Lane, LedgerEntry]] = field(default_factory=dict)
    arrived: dict[str, tuple[Lane, LedgerEntry]] = field(default_factory=dict)
    findings: list[tuple[str, str]] = field(default_factory=list)

    def add(self, lane: Lane, entry: LedgerEntry) -> None:
        """Match the two sides of a transfer as soon as both are seen."""
        xid = entry.reference.partition("/")[2]
        ours, others = self.out, self.arrived
        if entry.kind is EntryKind.TRANSFER_IN:
            ours, others = others, ours
        if xid in ours:
            self.findings.append(("I8", f"entry {entry.seq} of lane {lane.number} repeats transfer {xid}"))
        elif (other := others.pop(xid, None)) is None:
            ours[xid] = lane, entry
        elif not _are_two_sides((lane, entry), other):
            self.findings.append(("I8", f"the two sides of transfer {xid} differ"))

    def unmatched(self, *, is_closed: bool) -> list[tuple[str, str]]:
        """What came in without having gone out; of a closed tenant also what never arrived."""
        missing = [("I8", f"transfer {xid} came into lane {lane.number} and went out of none")
                   for xid, (lane, _) in self.arrived.items()]  # fmt: skip
        lost = [("I8", f"transfer {xid} went out of lane {lane.number} and never arrived")
                for xid, (lane, _) in self.out.items() if is_closed]  # fmt: skip
        return self.findings + missing + lost


def _are_two_sides(one: tuple[Lane, LedgerEntry], other: tuple[Lane, LedgerEntry]) -> bool:
    (lane, entry), (other_lane, other_entry) = one, other
    assert entry.transferred is not None
    assert other_entry.transferred is not None
    return (
        entry.transferred + other_entry.transferred == Amount()
        and int(entry.reference.partition("/")[0]) == other_lane.number
        and int(other_entry.reference.partition("/")[0]) == lane.number
    )


@dataclass(slots=True, kw_only=True)
class _Books:
    """What the entries of one lane add up to."""

    lane: Lane
    chain: HashChain
    prices: PriceBook
    transfers: _Transfers
    resolved: Members
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
        """Count an entry that stored rollups count."""
        if found := rollup_of(entry):
            key, added = found
            self.rollups[key] = self.rollups.get(key, Rollup()) + added

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
            self.findings.append(("I10", f"entry {entry.seq}: {error}"))
            return
        tokens = entry.outcome.usage.total_tokens
        self._expect("I10", cost == entry.amount.pusd, f"entry {entry.seq} costs {entry.amount.pusd}, not {cost} pUSD")
        self._expect("I10", tokens == entry.amount.tokens, f"entry {entry.seq} has {entry.amount.tokens}, not {tokens}")

    def _expect(self, invariant: str, holds: bool, message: str) -> None:  # noqa: FBT001 - reads as a sentence
        if not holds:
            self.findings.append((invariant, message))

    def compared(self, moment: _Moment) -> list[tuple[str, str]]:
        """Everything that is wrong with the entries, and with what else the lane held at one moment."""
        before = [*self.findings]
        self._compare(moment.balance, moment.held)
        for key in self.rollups.keys() | moment.rollups.keys():
            summed, stored = self.rollups.get(key), moment.rollups.get(key)
            self._expect("I11", summed == stored, f"the rollup of {key} is {stored}, its entries sum to {summed}")
        found, self.findings = self.findings, before
        return found

    def _compare(self, balance: Balance, held: Mapping[str, Amount]) -> None:
        reserved = sum(held.values(), Amount())
        both = [rid for rid in held if rid in self.resolved]
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
            room = None if limit is None else limit + getattr(balance.transferred, unit) + getattr(balance.excess, unit)
            is_kept = room is None or getattr(committed, unit) <= room
            self._expect("I7", is_kept or was_lowered, f"used and reserved {unit} exceed limit and excess")
        self._expect("I8", self.limit == balance.limit, f"entries give {self.limit}, the balance says {balance.limit}")
        self._expect(
            "I8",
            self.transferred == balance.transferred,
            f"{self.transferred} was moved, the balance says {balance.transferred}",
        )
        if balance.state is LaneState.CLOSED:
            is_closed = self.last_kind is EntryKind.CLOSE and not held
            self._expect("I9", is_closed, "the lane is CLOSED, but its last entry is not close or a hold is open")


@record
class _Moment:
    """What a lane held when it was read, beside its entries."""

    balance: Balance
    held: Mapping[str, Amount]
    rollups: Mapping[RollupKey, Rollup]
    watermark: int


class VerifyLedger:
    """Reads every lane of a period. A tenant whose lanes move while they are read is read on until they hold still."""

    def __init__(
        self,
        ledger: Ledger,
        rollups: RollupStore,
        prices: PriceStore,
        chain: HashChain,
        new_set: Callable[[], Members] = set,
    ) -> None:
        self._ledger = ledger
        self._rollups = rollups
        self._prices = prices
        self._chain = chain
        self._new_set = new_set

    async def __call__(self, period: str, only: str | None = None) -> AsyncIterator[tuple[str, list[Finding]]]:
        """Each tenant, or only one, with what is wrong with its books."""
        prices = PriceBook(await self._prices.load())
        async for lane in self._ledger.lanes(period, only):
            if lane == lane.vault:
                found = await self._tenant(lane, prices)
                yield lane.tenant_id, [Finding(invariant, lane.tenant_id, message) for invariant, message in found]

    async def count_tenants(self, period: str, only: str | None = None) -> int:
        """Count the tenants that a verification of the period reads. Raises `LedgerUnavailable`."""
        return len({lane.tenant_id async for lane in self._ledger.lanes(period, only)})

    async def _tenant(self, vault: Lane, prices: PriceBook) -> list[tuple[str, str]]:
        books: dict[Lane, _Books] = {}
        transfers = _Transfers()
        for _ in range(_ATTEMPTS_ON_MOVING_LANES):
            moments: dict[Lane, _Moment] = {}
            found: list[tuple[str, str]] = []
            for lane, balance in (await self._ledger.balances(vault.tenant_id, vault.period)).items():
                if lane not in books:
                    genesis = self._ledger.genesis(lane)
                    resolved = self._new_set()
                    books[lane] = _Books(
                        lane=lane,
                        chain=self._chain,
                        prices=prices,
                        transfers=transfers,
                        resolved=resolved,
                        head=genesis,
                        limit=balance.limit0,
                    )
                moments[lane] = await self._read(lane, balance, books[lane])
                where = f"lane {lane.number}: " if lane.number else ""
                found += [(invariant, where + message) for invariant, message in books[lane].compared(moments[lane])]
            found += _between(moments, transfers)
            if not found or await self._held_still(vault, moments):
                return found
        return [*found, ("I4", f"the lanes moved during each of {_ATTEMPTS_ON_MOVING_LANES} readings")]

    async def _read(self, lane: Lane, balance: Balance, books: _Books) -> _Moment:
        """Read what is new of a lane's entries, and everything else of it."""
        mark = (await self._rollups.watermark(lane)).seq
        async for entry in self._ledger.entries(lane, books.watermark + 1, min(mark, books.seq)):
            books.roll_up(entry)
        books.watermark = mark
        async for entry in self._ledger.entries(lane, books.seq + 1, balance.seq):
            books.add(entry)
        held = {hold.rid: hold.amount async for hold in self._ledger.reservations(lane)}
        return _Moment(
            balance=balance,
            held=held,
            rollups={key: sums async for key, sums in self._rollups.rows(lane)},
            watermark=mark,
        )

    async def _held_still(self, vault: Lane, moments: Mapping[Lane, _Moment]) -> bool:
        after = await self._ledger.balances(vault.tenant_id, vault.period)
        marks = [(await self._rollups.watermark(lane)).seq for lane in moments]
        return {lane: balance.version for lane, balance in after.items()} == {
            lane: moment.balance.version for lane, moment in moments.items()
        } and marks == [moment.watermark for moment in moments.values()]


def _between(moments: Mapping[Lane, _Moment], transfers: _Transfers) -> list[tuple[str, str]]:
    """What is wrong between a tenant's lanes: their limits, and what moves from one to the other."""
    balances = {lane: moment.balance for lane, moment in moments.items()}
    own = [lane_limit(balance.limit) for lane, balance in balances.items() if lane == lane.vault]
    found = [
        ("I8", f"lane {lane.number} has a limit of its own")
        for lane, balance in balances.items()
        if lane.number and [balance.limit] != own
    ]
    is_closed = all(balance.state is LaneState.CLOSED for balance in balances.values())
    return found + transfers.unmatched(is_closed=is_closed)
