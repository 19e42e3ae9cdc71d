"""Prove one entry of a tenant by the log of heads, so that the tenant can check its own bill line."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

from shared.application.ports.anchors import AnchorStore
from shared.application.ports.books import Books, StoredEntry
from shared.application.ports.tenancy import TenantDirectory
from shared.domain.audit.anchor_files import (
    UNREAD,
    ChainHead,
    checkpoint_path,
    heads_path,
    leaf_path,
    parse_heads,
    parse_leaf,
)
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
_LATEST_LEAVES: Final = 50
"""Leaves that are looked at after the entry's time: the chain may not have been readable in some."""
_AT_ONCE: Final = 32


class NotAnchoredYet(GatewayError):
    """No signed leaf has the entry. Anchors are written every five minutes."""

    def __init__(self) -> None:
        super().__init__("The entry is not anchored yet. Ask again in five minutes.")


class EntryNotProvable(GatewayError):
    """No proof of this entry can be made. The message tells the reason."""


class ProveEntry:
    """Reads the lane and the log. Hashes of leaves are kept, because leaves never change."""

    def __init__(self, books: Books, anchors: AnchorStore, tenants: TenantDirectory) -> None:
        self._books = books
        self._anchors = anchors
        self._tenants = tenants
        self._hashes: list[bytes] = []
        self._times: list[str] = []
        self._reading = asyncio.Lock()

    async def __call__(self, tenant_id: str, period: str, rid: str) -> EntryProof:
        """Return the proof of the entry that resolves a reservation.

        Raises `NotFound`, `NotAnchoredYet` and `EntryNotProvable`.
        """
        if await self._tenants.get(tenant_id) is None:
            raise NotFound(f"No tenant '{tenant_id}' is registered.")
        lane, stored = await self._entry(tenant_id, period, rid)
        if "method" not in stored.sealed.covered:
            raise EntryNotProvable("The entry is chained by an HMAC. Nothing proves it without the chain key.")
        seq, chain = int(str(stored.sealed.covered["seq"])), f"ledger/{period}/{tenant_id}|{lane.number:02}"
        await self._read_leaves()
        n, heads, index = await self._anchored(chain, seq, str(stored.sealed.covered["timestamp"]))
        head = heads[index]
        if head.seq - seq > MAX_FOLLOWERS:
            message = f"{head.seq - seq} entries stand between this one and the next anchored head"
            raise EntryNotProvable(f"{message}, more than {MAX_FOLLOWERS}. Ask for an evidence package.")
        checkpoint = await self._anchors.read(checkpoint_path(n + 1))
        leaf = await self._anchors.read(leaf_path(n))
        if checkpoint is None or leaf is None:
            raise NotAnchoredYet
        return EntryProof(
            entry=stored.sealed.fields(),
            previous=await self._hash_before(lane, seq),
            followers=[each.sealed.fields() async for each in self._books.entries(lane, seq + 1, head.seq)],
            head=head,
            heads=TreePath(index=index, size=len(heads), path=_path([each.to_bytes() for each in heads], index)),
            leaf=leaf,
            log=TreePath(index=n, size=n + 1, path=inclusion_proof(self._hashes[: n + 1], n)),
            checkpoint=checkpoint.decode(),
        )

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

    async def _read_leaves(self) -> None:
        """Read the leaves that are new since the last call."""
        async with self._reading:
            is_all_read = False
            while not is_all_read:
                start = len(self._hashes)
                paths = [leaf_path(start + each) for each in range(_AT_ONCE)]
                found = [each for each in await asyncio.gather(*map(self._anchors.read, paths)) if each is not None]
                times = [parse_leaf(each).at for each in found]  # first: an unreadable leaf must not part both lists
                self._hashes += map(leaf_hash, found)
                self._times += times
                is_all_read = len(found) < _AT_ONCE

    async def _anchored(self, chain: str, seq: int, at: str) -> tuple[int, list[ChainHead], int]:
        """Return the first leaf that has the entry or a later one of its chain, its heads, and the head's place."""
        since = next((n for n, time in enumerate(self._times) if time >= at), len(self._times))
        for n in range(max(since - 1, 0), min(since + _LATEST_LEAVES, len(self._times))):
            content = await self._anchors.read(heads_path(n))
            heads = [*parse_heads(content)] if content is not None else []
            for index, head in enumerate(heads):
                if head.chain == chain and head.seq != UNREAD and head.seq >= seq:
                    return n, heads, index
        raise NotAnchoredYet


def _path(leaves: list[bytes], index: int) -> list[bytes]:
    return inclusion_proof([leaf_hash(each) for each in leaves], index)
