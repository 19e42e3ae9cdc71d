"""Prove one entry of a tenant by the log of heads, so that the tenant can check its own bill line."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from shared.application.evidence.find_leaf import FindLeaf, FoundHead
from shared.application.evidence.log_path import LogPath, LogUnreadable, SignedLeaf
from shared.application.ports.anchors import AnchorStore
from shared.application.ports.books import Books, StoredEntry
from shared.application.ports.tenancy import TenantDirectory
from shared.domain.audit.entry_proof import EntryProof, TreePath
from shared.domain.audit.merkle import inclusion_proof, leaf_hash
from shared.domain.errors import GatewayError, NotFound
from shared.domain.identifiers import moment_of, timestamp
from shared.domain.ledger.balance import Lane

MAX_SEARCHED: Final = 10_000
"""Entries of a lane that are read from the time on that the id states. So an invented id costs little."""
MAX_FOLLOWERS: Final = 2000
"""A busy lane has more between two anchors. An evidence package proves those."""
_TERMINAL: Final = ("charge", "void", "expire")
_CLOCKS: Final = timedelta(minutes=10)
"""The clocks of a gateway and of its storage differ by less."""


class NotAnchoredYet(GatewayError):
    """No signed leaf has the entry. Anchors are written every five minutes."""

    def __init__(self) -> None:
        super().__init__("The entry is not anchored yet. Ask again in five minutes.")


class EntryNotProvable(GatewayError):
    """No proof of this entry can be made. The message tells the reason."""


class ProveEntry:
    """Reads the lane and the log."""

    def __init__(self, books: Books, anchors: AnchorStore, tenants: TenantDirectory) -> None:
        self._books = books
        self._tenants = tenants
        self._find_leaf = FindLeaf(anchors)
        self._log_path = LogPath(anchors)

    async def __call__(self, tenant_id: str, period: str, rid: str, seq: int | None = None) -> EntryProof:
        """Return the proof of the entry that resolves a reservation, or of its entry `seq`, such as a late one.

        Raises `NotFound`, `NotAnchoredYet` and `EntryNotProvable`.
        """
        if await self._tenants.get(tenant_id) is None:
            raise NotFound(f"No tenant '{tenant_id}' is registered.")
        lane, stored = await (
            self._entry(tenant_id, period, rid) if seq is None else self._numbered(tenant_id, period, rid, seq)
        )
        covered = stored.sealed.covered
        if "method" not in covered:
            raise EntryNotProvable("The entry is chained by an HMAC. Nothing proves it without the chain key.")
        number, chain = int(str(covered["seq"])), f"ledger/{period}/{tenant_id}|{lane.number:02}"
        found = await self._find_leaf(chain, number, str(covered["timestamp"]))
        if found is None:
            raise NotAnchoredYet
        head = found.heads[found.index]
        if head.seq - number > MAX_FOLLOWERS:
            message = f"{head.seq - number} entries stand between this one and the next anchored head"
            raise EntryNotProvable(f"{message}, more than {MAX_FOLLOWERS}. Ask for an evidence package.")
        signed = await self._signed(found.n)
        return EntryProof(
            entry=stored.sealed.fields(),
            previous=await self._hash_before(lane, number),
            followers=[each.sealed.fields() async for each in self._books.entries(lane, number + 1, head.seq)],
            head=head,
            heads=TreePath(index=found.index, size=len(found.heads), path=_path_of_head(found)),
            leaf=signed.leaf,
            log=TreePath(index=found.n, size=found.n + 1, path=signed.path),
            checkpoint=signed.checkpoint.decode(),
        )

    async def _signed(self, n: int) -> SignedLeaf:
        try:
            signed = await self._log_path(n)
        except LogUnreadable as error:
            raise EntryNotProvable(f"The log of heads is damaged: {error}") from error
        if signed is None:
            raise NotAnchoredYet
        return signed

    async def _numbered(self, tenant_id: str, period: str, rid: str, seq: int) -> tuple[Lane, StoredEntry]:
        """Return the entry of a number that belongs to a reservation. Raises `NotFound`."""
        lanes, _ = await self._books.lanes(period, tenant_id)
        for lane in lanes:
            stored = await self._one(lane, seq)
            if stored is not None and rid and stored.sealed.covered.get("rid") == rid:
                return lane, stored
        raise NotFound("No such entry is known.")

    async def _entry(self, tenant_id: str, period: str, rid: str) -> tuple[Lane, StoredEntry]:
        try:
            since = timestamp(moment_of(rid) - _CLOCKS)
        except (ValueError, OverflowError):
            raise NotFound("No such entry is known.") from None
        lanes, _ = await self._books.lanes(period, tenant_id)
        for lane in lanes:
            balance = await self._books.balance(lane)
            last = balance.meaning.seq if balance and balance.meaning else 0
            first = await self._first_since(lane, since, last)
            async for stored in self._books.entries(lane, first, min(last, first + MAX_SEARCHED - 1)):
                covered = stored.sealed.covered
                if covered.get("rid") == rid and covered.get("kind") in _TERMINAL:
                    return lane, stored
        raise NotFound("No such entry is known.")

    async def _first_since(self, lane: Lane, since: str, last: int) -> int:
        """Return the number of the first entry at or after a time: entries are in the order of their times."""
        low, high = 1, last + 1
        while low < high:
            middle = (low + high) // 2
            entry = await self._one(lane, middle)
            if entry is not None and str(entry.sealed.covered.get("timestamp", "")) < since:
                low = middle + 1
            else:
                high = middle
        return low

    async def _one(self, lane: Lane, seq: int) -> StoredEntry | None:
        found = [stored async for stored in self._books.entries(lane, seq, seq)]
        return found[0] if found else None

    async def _hash_before(self, lane: Lane, seq: int) -> str:
        before = await self._one(lane, seq - 1) if seq > 1 else None
        return before.sealed.hash if before else self._books.genesis(lane)


def _path_of_head(found: FoundHead) -> list[bytes]:
    return inclusion_proof([leaf_hash(each.to_bytes()) for each in found.heads], found.index)
