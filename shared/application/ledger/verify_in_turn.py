"""Verify the entries of large books in turn: some in each run, until all were read, and then from the first again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Final

from shared.application.ledger.findings import Finding, finding_at
from shared.application.ledger.lane_books import LaneBooks
from shared.application.ledger.transfers import Transfers
from shared.application.ledger.verify_ledger import PriceRows
from shared.application.ports.books import Books
from shared.application.ports.clock import Clock
from shared.domain.audit.hash_chain import ChainVerifier
from shared.domain.ledger.amounts import Limit
from shared.domain.ledger.balance import Balance, Lane
from shared.domain.pricing.price_book import PriceBook
from shared.domain.values import record

_AT_ONCE: Final = 5000
"""The entries between two looks at the clock."""
_OF_ONE_ENTRY: Final = frozenset({"I1", "I2", "I10", "I15"})
"""The invariants that an entry shows together with the hash of the one before it."""


@record
class Position:
    """The lane and the entry with which the next run begins."""

    lane: int = 0
    entry: int = 1


@record
class InTurn:
    """The entries that one run has read, what is wrong with them, and where the next run goes on."""

    read: Mapping[int, tuple[int, int]]
    """By lane: the first and the last entry."""
    findings: list[Finding] = field(default_factory=list)
    position: Position

    @property
    def entries(self) -> int:
        """The number of entries that were read."""
        return sum(last - first + 1 for first, last in self.read.values())


class VerifyInTurn:
    """Checks numbers, forms, hashes and costs of entries. Sums and other rows are not compared.

    Where something is wrong the position stays, so that each run finds it again until it is repaired.
    """

    def __init__(
        self, books: Books, prices: PriceRows, chain: ChainVerifier, key_ends: Mapping[str, str], clock: Clock
    ) -> None:
        self._books = books
        self._prices = prices
        self._chain = chain
        self._key_ends = key_ends
        self._clock = clock

    async def __call__(self, balances: Mapping[Lane, Balance], position: Position, most: int, seconds: float) -> InTurn:
        """Check at most `most` entries from a position, and begin no further ones after some seconds.

        Raises `LedgerUnavailable`, and `StorageUnavailable` if prices cannot be read.
        """
        ends_at, prices = self._clock.monotonic() + seconds, (await self._prices.load()).book
        read: dict[int, tuple[int, int]] = {}
        for lane in sorted(each for each in balances if each.number >= position.lane):
            first = begun = position.entry if lane.number == position.lane else 1
            while first <= balances[lane].seq:
                if not most or self._clock.monotonic() >= ends_at:
                    return InTurn(read=read, position=Position(lane=lane.number, entry=first))
                last = min(first + min(_AT_ONCE, most) - 1, balances[lane].seq)
                found = await self._check(lane, first, last, prices)
                read[lane.number] = begun, last
                if found:
                    return InTurn(read=read, findings=found, position=Position(lane=lane.number, entry=first))
                most -= last - first + 1
                first = last + 1
        return InTurn(read=read, position=Position())

    async def _check(self, lane: Lane, first: int, last: int, prices: PriceBook) -> list[Finding]:
        head = self._books.genesis(lane)
        async for stored in self._books.entries(lane, first - 1, first - 1):
            head = stored.sealed.hash
        entries = LaneBooks(
            lane=lane,
            books=self._books,
            chain=self._chain,
            key_ends=self._key_ends,
            prices=prices,
            transfers=Transfers(),
            resolved=set(),
            head=head,
            limit=Limit(),
            seq=first - 1,
        )
        async for stored in self._books.entries(lane, first, last):
            entries.add(stored)
        found = [each for each in entries.violations if each.invariant in _OF_ONE_ENTRY]
        if entries.seq < last:
            place = self._books.place(lane, self._books.entry_key(last))
            found.append(finding_at(place, "I1", f"{last - entries.seq} of the entries {first} to {last} are missing"))
        return found
