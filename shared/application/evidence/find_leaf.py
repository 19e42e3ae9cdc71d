"""Find the first leaf of the log that has an entry of a chain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from shared.application.ports.anchors import AnchorStore
from shared.domain.audit.anchor_files import (
    UNREAD,
    AnchorFileInvalid,
    ChainHead,
    Leaf,
    group_of,
    heads_path,
    leaf_path,
    parse_heads,
    parse_leaf,
)
from shared.domain.values import record

_UNREAD_IN_A_ROW: Final = 50
"""Leaves that are looked at if a chain could not be read in some."""
_MOST_TIMES: Final = 100_000


@record
class FoundHead:
    """A head of a chain: the number of its leaf, all heads of that leaf, and its place among them."""

    n: int
    heads: Sequence[ChainHead]
    index: int


class FindLeaf:
    """Begins where the time of the entry points, and goes on by the heads, whose numbers only grow.

    So leaves with wrong times cost some more readings, and hide nothing.
    """

    def __init__(self, anchors: AnchorStore) -> None:
        self._anchors = anchors
        self._size = 0
        self._times: dict[int, str] = {}

    async def __call__(self, chain: str, seq: int, at: str) -> FoundHead | None:
        """Return the first head of a chain whose number is at least `seq`; `None` if no leaf has it yet.

        `at` is the time of the entry. Raises `StorageUnavailable`.
        """
        await self._grow()
        low, high, step = -1, self._size, 1
        probe = min(await self._first_since(at), self._size - 1)
        found: FoundHead | None = None
        while high - low > 1:
            if not low < probe < high:
                probe = (low + high) // 2
            is_there, head = await self._reached(probe, chain, seq)
            if is_there:
                high, found, probe = probe, head, probe - step
            else:
                low, probe = probe, probe + step
            step *= 2
        return found

    async def _reached(self, n: int, chain: str, seq: int) -> tuple[bool, FoundHead | None]:
        """Tell whether the first leaf from `n` on in which the chain could be read has the entry, and return its head.

        A chain of a final group is left out of later leaves: they are after its last head.
        """
        for each in range(n, min(n + _UNREAD_IN_A_ROW, self._size)):
            heads = await self._heads(each)
            for index, head in enumerate(heads):
                if head.chain == chain and head.seq != UNREAD:
                    return head.seq >= seq, FoundHead(n=each, heads=heads, index=index)
            if all(head.chain != chain for head in heads):
                leaf = await self._leaf(each)
                if leaf is not None and leaf.count == len(heads):
                    return group_of(chain) in leaf.final, None
        return False, None

    async def _grow(self) -> None:
        """Find the end of the log."""
        step = 1
        while await self._anchors.read(leaf_path(self._size + step - 1)) is not None:
            self._size, step = self._size + step, step * 2
        while step > 1:
            step //= 2
            if await self._anchors.read(leaf_path(self._size + step - 1)) is not None:
                self._size += step

    async def _first_since(self, at: str) -> int:
        low, high = 0, self._size
        while low < high:
            middle = (low + high) // 2
            if await self._time(middle) < at:
                low = middle + 1
            else:
                high = middle
        return low

    async def _time(self, n: int) -> str:
        if n not in self._times:
            leaf = await self._leaf(n)
            if len(self._times) >= _MOST_TIMES:
                self._times.clear()
            self._times[n] = leaf.at if leaf else ""
        return self._times[n]

    async def _leaf(self, n: int) -> Leaf | None:
        content = await self._anchors.read(leaf_path(n))
        try:
            return parse_leaf(content or b"")
        except AnchorFileInvalid:
            return None

    async def _heads(self, n: int) -> Sequence[ChainHead]:
        """Return the heads of a leaf; none if they cannot be read."""
        content = await self._anchors.read(heads_path(n))
        try:
            return parse_heads(content or b"")
        except AnchorFileInvalid:
            return ()
