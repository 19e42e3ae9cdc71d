"""Find the grants of a period by their ids."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final, Protocol

from shared.adapters.tables.rows import grant_key, late_mark_key, partition_of, table_of
from shared.adapters.tables.store import AnswerLost, TableMissing, TableStore
from shared.domain.errors import LedgerUnavailable
from shared.domain.ledger.amounts import Limit
from shared.domain.ledger.balance import Balance, Lane
from shared.domain.ledger.entries import LedgerEntry
from shared.domain.ledger.grants import Granted, grant_reference

_PAGE_ENTRIES: Final = 500


class LaneSource(Protocol):
    """The part of the ledger that tells what was granted. All readings raise `LedgerUnavailable`."""

    async def balance(self, lane: Lane) -> Balance | None:
        """Read the balance of a lane."""
        ...

    def entries(self, lane: Lane, first: int, last: int) -> AsyncIterator[LedgerEntry]:
        """Read the entries of a lane from `first` to `last`."""
        ...


@dataclass(slots=True, eq=False)
class GrantMarks:
    """Reads the rows `L` of grants, which make them unique, and the entries that tell their amounts."""

    store: TableStore
    source: LaneSource

    async def find(self, vault: Lane, grant_id: str) -> Granted | None:
        """Return a grant; `None` if the id was not granted in the vault's period. Raises `LedgerUnavailable`.

        The mark of an earlier version may be that of an adjustment: then no entry tells of the grant.
        """
        table, partition = table_of(vault.period), partition_of(vault)
        try:
            for key in (grant_key(grant_id), late_mark_key(grant_id)):
                if await self.store.get(table, partition, key) is not None:
                    return await self._of_entries(vault, grant_reference(grant_id))
        except TableMissing:
            return None
        except AnswerLost as error:
            raise LedgerUnavailable from error
        return None

    async def _of_entries(self, vault: Lane, reference: str) -> Granted | None:
        """Find a grant among the limit entries of the vault, newest first: most are repeated at once."""
        after: Limit | None = None
        async for limit, before, of_grant in self._limits(vault):
            if after is not None:  # the entry of an earlier version does not tell the limit before it
                return Granted(after.minus(limit), after)
            if of_grant == reference:
                if before is not None:
                    return Granted(limit.minus(before), limit)
                after = limit
        return None

    async def _limits(self, vault: Lane) -> AsyncIterator[tuple[Limit, Limit | None, str]]:
        """Yield the limits of the vault, newest first and the one at its opening last.

        Each comes with the limit before it, where its entry tells that, and the entry's reference.
        """
        balance = await self.source.balance(vault)
        assert balance is not None  # a mark is written with the balance
        for below in range(balance.seq, 0, -_PAGE_ENTRIES):
            first = max(1, below - _PAGE_ENTRIES + 1)
            page = [entry async for entry in self.source.entries(vault, first, below)]
            for entry in reversed(page):
                if entry.limit is not None:
                    yield entry.limit, entry.previous_limit, entry.reference
        yield balance.limit0, None, ""
