"""Verify the books of a period against the invariants of docs/reference/ledger.md."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping

from shared.application.ledger.lane_books import LaneBooks, LaneSnapshot, StringSet
from shared.application.ledger.transfers import Transfers, Violation
from shared.application.ports.ledger import Ledger, RollupStore
from shared.application.ports.pricing import PriceStore
from shared.domain.audit.hash_chain import HashChain
from shared.domain.ledger.balance import Balance, Lane, LaneState
from shared.domain.ledger.lanes import lane_limit
from shared.domain.pricing.price_book import PriceBook
from shared.domain.values import value

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
    "I13": "each answer that a client received is booked once; each reservation ends",
}
_MAX_READINGS = 20


@value
class Finding:
    """One violation of an invariant. The message names the row or sum that shows it."""

    invariant: str
    tenant_id: str
    message: str


class VerifyLedger:
    """The use case of `tallygate verify`. It reads each lane of a period, and changes nothing.

    - A tenant whose lanes change during the reading is read on from there, at most 20 times.
    - `new_set` makes the sets of rids, which may not fit into memory.
    """

    def __init__(
        self,
        ledger: Ledger,
        rollups: RollupStore,
        prices: PriceStore,
        chain: HashChain,
        new_set: Callable[[], StringSet] = set,
    ) -> None:
        self._ledger = ledger
        self._rollups = rollups
        self._prices = prices
        self._chain = chain
        self._new_set = new_set

    async def __call__(self, period: str, only: str | None = None) -> AsyncIterator[tuple[str, list[Finding]]]:
        """Yield each tenant, or only the tenant `only`, with the violations in its books.

        Raises `LedgerUnavailable`, and `StorageUnavailable` if prices cannot be read.
        """
        prices = PriceBook(await self._prices.load())
        async for lane in self._ledger.lanes(period, only):
            if lane == lane.vault:
                found = await self._tenant(lane, prices)
                yield lane.tenant_id, [Finding(invariant, lane.tenant_id, message) for invariant, message in found]

    async def count_tenants(self, period: str, only: str | None = None) -> int:
        """Count the tenants that a verification of the period reads. Raises `LedgerUnavailable`."""
        return len({lane.tenant_id async for lane in self._ledger.lanes(period, only)})

    async def _tenant(self, vault: Lane, prices: PriceBook) -> list[Violation]:
        """Read a tenant's lanes until all invariants hold, or nothing changed during the reading."""
        books: dict[Lane, LaneBooks] = {}
        transfers = Transfers()
        for _ in range(_MAX_READINGS):
            snapshots: dict[Lane, LaneSnapshot] = {}
            found: list[Violation] = []
            for lane, balance in (await self._ledger.balances(vault.tenant_id, vault.period)).items():
                if lane not in books:
                    books[lane] = self._open_books(lane, balance, prices, transfers)
                snapshots[lane] = await self._read(lane, balance, books[lane])
                where = f"lane {lane.number}: " if lane.number else ""
                found += [(invariant, where + message) for invariant, message in books[lane].compare(snapshots[lane])]
            found += _compare_lanes(snapshots, transfers)
            if not found or await self._is_unchanged(vault, snapshots):
                return found
        return [*found, ("I4", f"the lanes changed during each of {_MAX_READINGS} readings")]

    def _open_books(self, lane: Lane, balance: Balance, prices: PriceBook, transfers: Transfers) -> LaneBooks:
        return LaneBooks(
            lane=lane,
            chain=self._chain,
            prices=prices,
            transfers=transfers,
            resolved=self._new_set(),
            head=self._ledger.genesis(lane),
            limit=balance.limit0,
        )

    async def _read(self, lane: Lane, balance: Balance, books: LaneBooks) -> LaneSnapshot:
        """Add the new entries of a lane to its books, and return everything else that it stores."""
        mark = (await self._rollups.watermark(lane)).seq
        async for entry in self._ledger.entries(lane, books.watermark + 1, min(mark, books.seq)):
            books.roll_up(entry)
        books.watermark = mark
        async for entry in self._ledger.entries(lane, books.seq + 1, balance.seq):
            books.add(entry)
        held = {hold.rid: hold.amount async for hold in self._ledger.reservations(lane)}
        return LaneSnapshot(
            balance=balance,
            held=held,
            rollups={key: sums async for key, sums in self._rollups.rows(lane)},
            watermark=mark,
        )

    async def _is_unchanged(self, vault: Lane, snapshots: Mapping[Lane, LaneSnapshot]) -> bool:
        after = await self._ledger.balances(vault.tenant_id, vault.period)
        marks = [(await self._rollups.watermark(lane)).seq for lane in snapshots]
        return {lane: balance.version for lane, balance in after.items()} == {
            lane: snapshot.balance.version for lane, snapshot in snapshots.items()
        } and marks == [snapshot.watermark for snapshot in snapshots.values()]


def _compare_lanes(snapshots: Mapping[Lane, LaneSnapshot], transfers: Transfers) -> list[Violation]:
    """Return the violations between a tenant's lanes: in their limits, and in the transfers between them."""
    balances = {lane: snapshot.balance for lane, snapshot in snapshots.items()}
    own = [lane_limit(balance.limit) for lane, balance in balances.items() if lane == lane.vault]
    found = [
        ("I8", f"lane {lane.number} has a limit of its own")
        for lane, balance in balances.items()
        if lane.number and [balance.limit] != own
    ]
    is_closed = all(balance.state is LaneState.CLOSED for balance in balances.values())
    return found + transfers.all_violations(is_closed=is_closed)
