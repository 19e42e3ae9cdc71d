"""Make the path from a leaf of the log to the root of its checkpoint, from few files."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from shared.application.ports.anchors import AnchorStore
from shared.domain.audit.anchor_files import checkpoint_path, leaf_path
from shared.domain.audit.merkle import CompactRange
from shared.domain.audit.subtrees import SUBTREES_EVERY, format_subtrees, is_root, parse_subtrees, subtrees_path
from shared.domain.errors import StorageUnavailable
from shared.domain.values import record

_AT_ONCE: Final = 32
_MOST_KEPT: Final = 1024
"""Trees that are kept. Each has at most some twenty hashes."""


class LogUnreadable(Exception):
    """Files of the log are missing, or do not belong together."""


@record
class SignedLeaf:
    """A leaf, the checkpoint that it is the last leaf of, and the path between both."""

    leaf: bytes
    checkpoint: bytes
    path: Sequence[bytes]


class LogPath:
    """Reads the log. A leaf is the last one of its checkpoint, so that its path has the subtrees before it.

    Subtrees are those of the last file that the timer `anchor_audit` wrote, and of the leaves since. An older log has
    no such files: they are made here, once.
    """

    def __init__(self, anchors: AnchorStore) -> None:
        self._anchors = anchors
        self._trees: dict[int, CompactRange] = {}

    async def __call__(self, n: int) -> SignedLeaf | None:
        """Return leaf `n` with its path; `None` if it is not signed.

        Raises `LogUnreadable` and `StorageUnavailable`.
        """
        checkpoint = await self._anchors.read(checkpoint_path(n + 1))
        leaf = await self._anchors.read(leaf_path(n))
        if checkpoint is None or leaf is None:
            return None
        before = await self._tree(n)
        after = before.copy()
        after.append(leaf)
        if not is_root(after, checkpoint):
            self._trees.clear()
            raise LogUnreadable(f"{leaf_path(n)} does not lead to the root of its checkpoint.")
        return SignedLeaf(leaf=leaf, checkpoint=checkpoint, path=[*reversed(before.hashes)])

    async def _tree(self, size: int) -> CompactRange:
        """Return the subtrees of the first `size` leaves."""
        tree = await self._last_known(size)
        while tree.size < size:
            some = range(tree.size, min(tree.size + _AT_ONCE, size))
            for n, leaf in zip(
                some, await asyncio.gather(*(self._anchors.read(leaf_path(n)) for n in some)), strict=True
            ):
                if leaf is None:
                    raise LogUnreadable(f"{leaf_path(n)} is missing.")
                tree.append(leaf)
                if tree.size % SUBTREES_EVERY == 0:
                    with suppress(StorageUnavailable):  # it saves readings, and is needed for nothing
                        await self._anchors.create(subtrees_path(tree.size), format_subtrees(tree))
                    self._keep(tree)
        self._keep(tree)
        return tree

    async def _last_known(self, size: int) -> CompactRange:
        """Return the largest tree up to a size that is kept, or has a file that its checkpoint proves."""
        kept = max((each for each in self._trees if each <= size), default=0)
        for start in range(size - size % SUBTREES_EVERY, kept, -SUBTREES_EVERY):
            tree = await self._stored(start)
            if tree is not None:
                return tree
        return self._trees[kept].copy() if kept else CompactRange()

    async def _stored(self, size: int) -> CompactRange | None:
        content = await self._anchors.read(subtrees_path(size))
        checkpoint = await self._anchors.read(checkpoint_path(size)) if content is not None else None
        return parse_subtrees(content, size, checkpoint) if content is not None and checkpoint is not None else None

    def _keep(self, tree: CompactRange) -> None:
        if len(self._trees) >= _MOST_KEPT:
            self._trees.pop(next(iter(self._trees)))
        self._trees[tree.size] = tree.copy()
