"""Read the log of heads from its store, and verify it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Final

from shared.application.audit.verify_anchors import AnchorFinding, AnchorReplay
from shared.application.ports.anchors import AnchoredHeads, AnchorStore
from shared.domain.audit.anchor_files import (
    CHECKPOINTS,
    LEAVES,
    AnchorFileInvalid,
    AnchorFiles,
    checkpoint_path,
    heads_path,
    leaf_path,
    parse_leaf,
)
from shared.domain.audit.signed_note import PublicKey
from shared.domain.values import record

AT_ONCE: Final = 32
_NUMBER: Final = re.compile(r"[a-z]+/(\d{10})(\.json)?")


@record
class AnchorReport:
    """The result of a verification."""

    findings: Sequence[AnchorFinding]
    notes: Sequence[str]
    """Facts that are no violation by themselves, such as times without anchors."""
    leaves: int
    last_at: str
    """The time of the last leaf; empty if there is none."""


class VerifyAnchorLog:
    """Reads every leaf of the log, and the heads and checkpoints from a time on. Changes nothing."""

    def __init__(self, store: AnchorStore) -> None:
        self._store = store

    async def __call__(
        self,
        keys: Sequence[PublicKey],
        anchored: AnchoredHeads,
        report: Callable[[int, int], None],
        *,
        origin: str = "",
        kept: Iterable[bytes] = (),
        since: str = "",
    ) -> AnchorReport:
        """Verify the log.

        - `anchored` gets the heads of all leaves from the time `since` on.
        - `kept` are checkpoints that were kept elsewhere.
        - `report` is told how many leaves are done, of how many.
        - Raises `StorageUnavailable`.
        """
        replay = AnchorReplay(keys, origin=origin, kept=kept, since=since, on_heads=anchored.add)
        size, found = await self._size()
        found += replay.begin()
        async for files in self._files(size, since):
            found += replay.add(files)
            report(files.n + 1, size)
        found += replay.finish()
        return AnchorReport(findings=found, notes=replay.notes, leaves=size, last_at=replay.last_at)

    async def _size(self) -> tuple[int, list[AnchorFinding]]:
        """Return the number of leaves that there are, or that a checkpoint covers, and the files that are neither."""
        size, found = 0, list[AnchorFinding]()
        for folder, path, first in ((LEAVES, leaf_path, 0), (CHECKPOINTS, checkpoint_path, 1)):
            async for name in self._store.names(folder):
                number = _NUMBER.fullmatch(name)
                if number is None or name != path(int(number[1])):
                    found.append(AnchorFinding(name, "the file is none that the gateway writes"))
                else:
                    size = max(size, int(number[1]) + 1 - first)
        return size, found

    async def _files(self, size: int, since: str) -> AsyncIterator[AnchorFiles]:
        for begin in range(0, size, AT_ONCE):
            some = range(begin, min(begin + AT_ONCE, size))
            for files in await asyncio.gather(*(self._of_leaf(n, since) for n in some)):
                yield files

    async def _of_leaf(self, n: int, since: str) -> AnchorFiles:
        leaf = await self._store.read(leaf_path(n))
        if _time_of(leaf) < since:
            return AnchorFiles(n=n, leaf=leaf, heads=None, checkpoint=None)
        heads, checkpoint = await self._store.read(heads_path(n)), await self._store.read(checkpoint_path(n + 1))
        return AnchorFiles(n=n, leaf=leaf, heads=heads, checkpoint=checkpoint)


def _time_of(leaf: bytes | None) -> str:
    """Return the time that a leaf states; a late one if it states none, so that its files are read."""
    try:
        return parse_leaf(leaf or b"").at
    except AnchorFileInvalid:
        return "~"
