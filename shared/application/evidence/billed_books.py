"""The stored rows of the books, read as the verification of statements needs them."""

from __future__ import annotations

from collections.abc import AsyncIterator

from shared.application.ports.books import Books
from shared.domain.errors import RowsDamaged
from shared.domain.ledger.balance import Balance, Lane
from shared.domain.ledger.entries import LedgerEntry


class BilledBooks:
    """Implements `BilledLedger` over rows that nobody writes. Rows that cannot be read raise `RowsDamaged`."""

    def __init__(self, books: Books) -> None:
        self._books = books

    async def lanes(self, period: str) -> AsyncIterator[Lane]:
        """Yield each lane that has a balance."""
        lanes, _ = await self._books.lanes(period)
        for lane in lanes:
            if await self._books.balance(lane) is not None:
                yield lane

    async def balances(self, tenant_id: str, period: str) -> dict[Lane, Balance]:
        """Return the balances of all lanes of a tenant."""
        lanes, _ = await self._books.lanes(period, tenant_id)
        found: dict[Lane, Balance] = {}
        for lane in lanes:
            stored = await self._books.balance(lane)
            if stored is None:
                continue
            if stored.meaning is None:
                raise RowsDamaged(f"The balance of {lane.tenant_id}|{lane.number:02} cannot be read.")
            found[lane] = stored.meaning
        return found

    async def entries(self, lane: Lane, first: int, last: int) -> AsyncIterator[LedgerEntry]:
        """Yield the entries of a lane."""
        async for stored in self._books.entries(lane, first, last):
            if stored.entry is None:
                raise RowsDamaged(f"The entry {stored.key} of {lane.tenant_id}|{lane.number:02} cannot be read.")
            yield stored.entry
