"""Verify the books of a period against the invariants of docs/reference/ledger.md."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Protocol

from shared.application.audit.ledger_heads import chain_of, lane_of_chain
from shared.application.ledger.audited_limits import BookedLimit
from shared.application.ledger.chain_report import ChainReport
from shared.application.ledger.compare_lane import LaneSnapshot, compare_lane
from shared.application.ledger.findings import Finding, NotChecked, finding_at, findings_of
from shared.application.ledger.lane_books import LaneBooks, StringSet
from shared.application.ledger.moving_lane import EarlierRows, rows_at
from shared.application.ledger.transfers import Transfers
from shared.application.ports.anchors import AnchoredHashes
from shared.application.ports.books import Books, Fault
from shared.application.ports.pricing import StoredPrices
from shared.domain.audit.hash_chain import ChainVerifier
from shared.domain.ledger.balance import Balance, Lane, LaneState, balance_digest
from shared.domain.ledger.entries import EntryKind
from shared.domain.ledger.lanes import lane_limit
from shared.domain.pricing.price_book import PriceBook
from shared.domain.stored_fields import FieldValue

_MAX_READINGS = 20
"""The most readings of a lane or tenant that is written during each of them."""


class PriceRows(Protocol):
    """The rows of the price book."""

    async def load(self) -> StoredPrices:
        """Return all rows. Raises `StorageUnavailable`."""
        ...


class VerifyLedger:
    """The use case of `tallygate verify`. It reads every row of each lane of a period, and changes nothing.

    - A tenant whose lanes change during the reading is read on from there, at most 20 times. Of a lane whose rows at
      one moment none of the readings tells, only entries and balance are compared.
    - `new_set` makes the sets of rids, which may not fit into memory.
    - `key_ends` has the timestamps from which versions of the chain key must not sign any more.
    """

    def __init__(
        self,
        books: Books,
        prices: PriceRows,
        chain: ChainVerifier,
        new_set: Callable[[], StringSet] = set,
        key_ends: Mapping[str, str] | None = None,
    ) -> None:
        self._books = books
        self._prices = prices
        self._chain = chain
        self._new_set = new_set
        self._key_ends = key_ends or {}
        self._unproven_limits = 0
        """The number of lanes whose `limit0` nothing proves: their first limit entry is of an earlier version."""
        self._unproven_balances = 0
        """The number of lanes whose close does not state the balance: an earlier version closed them."""
        self.moving = 0
        """The number of lanes that were written during each reading."""
        self.booked_limits: list[BookedLimit] = []
        """The limits of all verified vaults: at their opening, and after each limit entry."""
        self.chained = ChainReport()
        """The methods and key versions of the entries in the verified lanes."""

    async def __call__(
        self, period: str, only: str | None = None, anchored: AnchoredHashes | None = None
    ) -> AsyncIterator[tuple[str, list[Finding]]]:
        """Yield each tenant, or only the tenant `only`, with the violations in its books.

        - Entries are compared with the `anchored` heads, which were read before.
        - Rows that are of no tenant, and anchored lanes without rows, are yielded last, under the name of none.

        Raises `LedgerUnavailable`, and
        `StorageUnavailable` if prices cannot be read.
        """
        prices = (await self._prices.load()).book
        lanes, faults = await self._books.lanes(period, only)
        for tenant_id, of_tenant in groupby(lanes, key=lambda lane: lane.tenant_id):
            yield tenant_id, await self._tenant({lane: lanes[lane] for lane in of_tenant}, prices, anchored)
        found = [*findings_of(faults, "I16", ""), *self._vanished(lanes, period, only, anchored)]
        if found:
            yield "", found

    def not_checked(self) -> Iterator[NotChecked]:
        """Yield what the rows of the verified lanes do not prove, beside their chains."""
        if lanes := self._unproven_limits:
            yield NotChecked(
                invariant="I8", reason=f"limit0 of {lanes} lanes: an earlier version changed their limit first"
            )
        if lanes := self._unproven_balances:
            reason = f"recent commits and limits a minute of {lanes} closed lanes: an earlier version closed them"
            yield NotChecked(invariant="I9", reason=reason)
        if lanes := self.moving:
            reason = f"reservations, markers and rollups of {lanes} lanes: they were written during each reading"
            yield NotChecked(invariant="I4", reason=reason)

    async def count_tenants(self, period: str, only: str | None = None) -> int:
        """Count the tenants that a verification of the period reads. Raises `LedgerUnavailable`."""
        lanes, _ = await self._books.lanes(period, only)
        return len({lane.tenant_id for lane in lanes})

    def _vanished(
        self, lanes: Container[Lane], period: str, only: str | None, anchored: AnchoredHashes | None
    ) -> Iterator[Finding]:
        """Yield the lanes of the period that were anchored, and that have no rows."""
        for chain in sorted(anchored.chains()) if anchored else ():
            lane = lane_of_chain(chain)
            if lane and lane.period == period and lane not in lanes and only in (None, lane.tenant_id):
                yield finding_at(self._books.place(lane), "I2", "the lane was anchored, and has no rows")

    async def _tenant(
        self, lanes: Mapping[Lane, bool], prices: PriceBook, anchored: AnchoredHashes | None
    ) -> list[Finding]:
        """Read a tenant's lanes until all invariants hold, or nothing changed during the reading.

        `lanes` tells of each lane if the registry names it.
        """
        tenant = _TenantBooks(prices=prices, anchored=anchored)
        vault = next(iter(lanes)).vault
        between: Sequence[Finding] = ()
        for _ in range(_MAX_READINGS):
            tenant.snapshots.clear()
            found = [each for lane in lanes for each in await self._lane(lane, tenant)]
            before, between = between, _compare_lanes(tenant)
            if not (found or between) or await self._is_unchanged(lanes, tenant):
                break
            lanes, _ = await self._books.lanes(vault.period, vault.tenant_id)  # one may have opened meanwhile
        else:  # what is wrong between lanes only while one of them changes is no violation
            between = [each for each in between if each in before]
        self._report(tenant)
        return [*self._unregistered(lanes), *found, *between]

    def _report(self, tenant: _TenantBooks) -> None:
        self.moving += sum(not each.is_steady for each in tenant.snapshots.values())
        for books in tenant.books.values():
            self.chained.merge(books.chained)
            self._unproven_limits += not books.is_limit0_proven
            self._unproven_balances += books.last_kind is EntryKind.CLOSE and not books.closed_balance
            if books.lane == books.lane.vault and books.lane in tenant.snapshots:
                self.booked_limits.append(books.opening(tenant.snapshots[books.lane].balance.limit0))
                self.booked_limits += books.booked_limits

    async def _lane(self, lane: Lane, tenant: _TenantBooks) -> list[Finding]:
        """Read a lane, or read on in it, into its books and a snapshot. Returns the violations in it."""
        stored = await self._books.balance(lane)
        if stored is None or stored.meaning is None:
            return await self._without_balance(lane, None if stored is None else stored.faults)
        if lane not in tenant.books:
            tenant.books[lane] = self._open_books(lane, stored.meaning, tenant)
        books = tenant.books[lane]
        snapshot = tenant.snapshots[lane] = await self._read(lane, stored.meaning, stored.fields, books)
        return [*findings_of(stored.faults, "I15"), *compare_lane(books, snapshot), *books.anchored_beyond()]

    async def _without_balance(self, lane: Lane, faults: Sequence[Fault] | None) -> list[Finding]:
        """Return the violation in a lane whose balance is missing or cannot be read, so that nothing can be compared.

        A lane without any row is none: the process that wanted to open it died after it had registered it.
        """
        if faults is not None:
            return [*findings_of(faults, "I15")]
        if (await self._books.others(lane, 0)).is_empty:
            return []
        return [finding_at(self._books.place(lane, "B"), "I16", "the lane has rows, and no balance")]

    def _unregistered(self, registered: Mapping[Lane, bool]) -> Iterator[Finding]:
        for lane, is_registered in registered.items():
            if not is_registered:
                yield finding_at(self._books.place(lane), "I16", "the lane has rows, and is not in the registry")

    def _open_books(self, lane: Lane, balance: Balance, tenant: _TenantBooks) -> LaneBooks:
        return LaneBooks(
            lane=lane,
            books=self._books,
            chain=self._chain,
            key_ends=self._key_ends,
            prices=tenant.prices,
            transfers=tenant.transfers,
            resolved=self._new_set(),
            head=self._books.genesis(lane),
            limit=balance.limit0,
            anchored=tenant.anchored.of(chain_of(lane)) if tenant.anchored else {},
        )

    async def _read(
        self, lane: Lane, balance: Balance, row: Mapping[str, FieldValue], books: LaneBooks
    ) -> LaneSnapshot:
        """Add the new entries of a lane to its books, and return its other rows, if possible of one moment.

        Either no commit came between the readings of balance and rows: then the balance has the same version before
        and after. Or the rows before and after a balance tell those at that balance.
        """
        is_steady, earlier = False, None
        for _ in range(_MAX_READINGS):
            mark = await self._roll_up(lane, books)
            await self._catch_up(lane, books, balance)
            rows = await self._books.others(lane, balance.seq)
            after = await self._books.balance(lane)
            if after is None or after.meaning is None:
                break
            told = rows if balance.version == rows.balance_version == after.meaning.version else None
            is_rolled_up = balance.seq < mark <= after.meaning.seq  # since the balance was read
            if told is None and earlier is not None and not is_rolled_up:
                later = [each async for each in self._books.entries(lane, balance.seq + 1, after.meaning.seq)]
                told = rows_at(balance, earlier, rows, later)
            is_steady = told is not None and mark == await self._books.watermark(lane)
            if told is not None and is_steady:
                rows = told
                break
            earlier = EarlierRows(version=balance.version, rows=rows)
            balance, row = after.meaning, after.fields
        await self._catch_up(lane, books, balance)
        return LaneSnapshot(balance=balance, rows=rows, mark=mark, digest=balance_digest(row), is_steady=is_steady)

    async def _roll_up(self, lane: Lane, books: LaneBooks) -> int:
        """Add the entries that were rolled up since the last reading to the books' rollups. Returns the watermark."""
        mark = await self._books.watermark(lane)
        async for stored in self._books.entries(lane, books.watermark + 1, min(mark, books.seq)):
            if stored.entry is not None:
                books.roll_up(stored.entry)
        books.watermark = mark
        return mark

    async def _catch_up(self, lane: Lane, books: LaneBooks, balance: Balance) -> None:
        """Add the entries of a lane up to its balance's last one, which are there since the balance is."""
        async for stored in self._books.entries(lane, books.asked + 1, balance.seq):
            books.add(stored)
        books.asked = max(books.asked, balance.seq)

    async def _is_unchanged(self, lanes: Mapping[Lane, bool], tenant: _TenantBooks) -> bool:
        """Tell whether all lanes are still as they were read, so that no violation is of a change in progress."""
        for lane in lanes:
            stored = await self._books.balance(lane)
            version = stored.meaning.version if stored and stored.meaning else None
            read = tenant.snapshots.get(lane)
            if version != (read.balance.version if read else None):
                return False
            if read and read.mark != await self._books.watermark(lane):
                return False
        return True


@dataclass(slots=True, kw_only=True)
class _TenantBooks:
    """The books of a tenant's lanes, which grow with each reading, and the latest snapshot of each lane."""

    prices: PriceBook
    anchored: AnchoredHashes | None
    transfers: Transfers = field(default_factory=Transfers)
    books: dict[Lane, LaneBooks] = field(default_factory=dict)
    snapshots: dict[Lane, LaneSnapshot] = field(default_factory=dict)


def _compare_lanes(tenant: _TenantBooks) -> list[Finding]:
    """Return the violations between a tenant's lanes: in their limits, and in the transfers between them."""
    balances = {lane: snapshot.balance for lane, snapshot in tenant.snapshots.items()}
    own = [lane_limit(balance.limit) for lane, balance in balances.items() if lane == lane.vault]
    found = [
        finding_at(tenant.books[lane].place("B"), "I8", f"lane {lane.number} has a limit of its own")
        for lane, balance in balances.items()
        if lane.number and [balance.limit] != own
    ]
    is_closed = all(balance.state is LaneState.CLOSED for balance in balances.values())
    return found + tenant.transfers.all_violations(is_closed=is_closed)
