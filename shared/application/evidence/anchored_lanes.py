"""Compare the lanes of a period with the heads that a signed log has of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Set
from typing import Final

from shared.application.audit.verify_anchors import LONGEST_GAP, moment_of
from shared.application.ledger.findings import Finding, finding_at
from shared.application.ports.anchors import DatedHead, DatedHeads
from shared.application.ports.books import Books, Place, StoredEntry
from shared.domain.ledger.balance import Lane
from shared.domain.ledger.entries import EntryKind

INVARIANT: Final = "I2"


class AnchoredLanes:
    """Checks each lane of a period against the heads of a log.

    Implements `AnchoredHashes` afterwards, for the verification of the lanes: it has the hashes that are in their lane.
    """

    def __init__(
        self,
        books: Books,
        heads: DatedHeads,
        *,
        final: Collection[str],
        last_at: str,
        newest: Collection[str] | None = None,
    ) -> None:
        """Take the heads of a log.

        - `final` has the groups of the log that are final, and `last_at` is the time of its newest leaf.
        - `newest` has the chains whose head in the newest leaf is known; `None` if the heads of all leaves are.
        """
        self._books = books
        self._heads = heads
        self._final = final
        self._last_at = last_at
        self._newest = newest
        self._differing: set[str] = set()
        """The chains that have not all anchored heads. They are told already."""
        self.after: dict[str, int] = {}
        """By chain, the number of entries that are newer than the newest leaf."""
        self.empty_lanes: list[str] = []
        """Lanes without entries that no leaf has."""

    async def __call__(self, period: str, only: str | None = None) -> AsyncIterator[Finding]:
        """Yield what is wrong in the lanes of a period, or in those of the tenant `only`."""
        group = f"ledger/{period}"
        lanes, _ = await self._books.lanes(period, only)
        named = {f"{group}/{lane.tenant_id}|{lane.number:02}": lane for lane in lanes}
        prefix = f"{group}/" if only is None else f"{group}/{only}|"
        for chain in sorted({*named, *self._heads.chains(prefix)}):
            lane = named.get(chain)
            if lane is None:
                yield self._missing(chain, period)
                continue
            async for finding in self._lane(chain, lane, is_final=group in self._final):
                yield finding

    def of(self, chain: str) -> Mapping[int, str]:
        """Return the hashes of a lane's anchored entries; none if the lane has not all of them."""
        return {} if chain in self._differing else {head.seq: head.head for head in self._heads.of(chain)}

    def chains(self) -> Set[str]:
        """Return no lanes: those that are missing are told already."""
        return frozenset()

    def _missing(self, chain: str, period: str) -> Finding:
        head = self._heads.last(chain)
        partition = chain.rpartition("/")[2]
        told = "" if head is None else f": leaf {head.leaf} ({head.at}) has {head.seq} entries of it"
        place = Place(table=f"ledger{period.replace('-', '')}", partition=partition)
        return finding_at(place, INVARIANT, f"the lane {partition} is missing{told}")

    async def _lane(self, chain: str, lane: Lane, *, is_final: bool) -> AsyncIterator[Finding]:
        last = self._heads.last(chain)
        async for finding in self._anchored(chain, lane):
            self._differing.add(chain)
            yield finding
        if last is not None and (message := await self._left_out(chain, lane, last, is_final=is_final)):
            yield self._at(lane, "", message)
        async for finding in self._unanchored(chain, lane, last, is_final=is_final):
            yield finding

    async def _anchored(self, chain: str, lane: Lane) -> AsyncIterator[Finding]:
        """Yield each anchored head that is not in the lane."""
        for head in self._heads.of(chain):
            if head.seq == 0:
                if head.head != self._books.genesis(lane):
                    yield self._at(lane, "", f"leaf {head.leaf} ({head.at}) has another genesis of the lane")
                continue
            stored = await self._entry(lane, head.seq)
            key = self._books.entry_key(head.seq)
            if stored is None:
                end = await self._end(lane)
                message = f"entry {head.seq} is missing, and leaf {head.leaf} ({head.at}) has its hash. "
                yield self._at(lane, key, f"{message}The lane ends with entry {end}: newer ones were removed, or the "
                                          "file is older than the checkpoints")  # fmt: skip
                return  # all later heads are missing, too
            if stored.sealed.hash != head.head:
                message = f"entry {head.seq} has another hash than in leaf {head.leaf} ({head.at})"
                yield self._at(lane, key, f"{message}: it, or an entry before it, was changed afterwards")
                return  # and so have all later ones

    async def _left_out(self, chain: str, lane: Lane, last: DatedHead, *, is_final: bool) -> str:
        """Return the reason why the log has later heads of a lane than are known; empty if it has none.

        Whoever makes a package of one tenant chooses the heads that it proves.
        """
        if not is_final:
            is_known = self._newest is None or chain in self._newest
            return "" if is_known else "the package does not prove the lane's head in the newest leaf"
        entry = await self._entry(lane, last.seq)
        if entry is None or entry.sealed.covered.get("kind") == EntryKind.CLOSE.value:
            return ""  # an entry that is missing is told already
        return f"the newest head is that of entry {last.seq}, which does not close the lane: later ones are left out"

    async def _unanchored(
        self, chain: str, lane: Lane, last: DatedHead | None, *, is_final: bool
    ) -> AsyncIterator[Finding]:
        """Count the entries after the last anchored one. Yield the first that should have been anchored."""
        begun = 1 if last is None else last.seq + 1
        count, is_told = 0, False
        async for stored in self._books.entries(lane, begun, 10**15):
            count += 1
            if not is_told and (message := self._too_old(stored, is_final=is_final)):
                is_told = True
                yield self._at(lane, stored.key, message)
        if count:
            self.after[chain] = count
        elif last is None:
            if is_final and await self._books.balance(lane) is not None:
                yield self._at(lane, "", "the lane is in no leaf, although all lanes of its period are closed")
            self.empty_lanes.append(chain)

    def _too_old(self, stored: StoredEntry, *, is_final: bool) -> str:
        if is_final:
            return "the entry is in no leaf, although all lanes of its period were closed and anchored"
        text = str(stored.sealed.covered.get("timestamp", ""))
        at, newest = moment_of(text), moment_of(self._last_at)
        if at is None or newest is None or at + LONGEST_GAP >= newest:
            return ""
        return f"the entry is of {text} and in no leaf, although there are leaves up to {self._last_at}"

    async def _entry(self, lane: Lane, seq: int) -> StoredEntry | None:
        async for stored in self._books.entries(lane, seq, seq):
            return stored
        return None

    async def _end(self, lane: Lane) -> int:
        balance = await self._books.balance(lane)
        return balance.meaning.seq if balance is not None and balance.meaning is not None else 0

    def _at(self, lane: Lane, row: str, message: str) -> Finding:
        return finding_at(self._books.place(lane, row), INVARIANT, message)
