"""A witness that is a second container: it gets a copy of every file of the log."""

from __future__ import annotations

from typing import Final

from shared.application.ports.anchors import AnchorStore
from shared.application.ports.jobs import SweepCursors
from shared.domain.audit.anchor_files import checkpoint_path, heads_path, leaf_path
from shared.domain.errors import AlreadyExists, StorageUnavailable

JOB: Final = "anchor_witness"
LEAVES_A_RUN: Final = 100
"""A new container gets the files of an old log over several runs."""


class CopyAnchors:
    """Implements `Witness`. It goes on where the last run stopped, and finds files that were changed since."""

    name = "the second container"

    def __init__(self, copies: AnchorStore, cursors: SweepCursors) -> None:
        self._copies = copies
        self._cursors = cursors

    async def tell(self, size: int, checkpoint: bytes, log: AnchorStore) -> None:  # noqa: ARG002 - it is copied
        """Copy the files of all leaves that were not copied yet.

        Raises `AlreadyExists` if the copy has another file: one of both was forged.
        """
        done = _number(await self._cursors.get(JOB))
        for n in range(done, min(size, done + LEAVES_A_RUN)):
            for path in (heads_path(n), leaf_path(n), checkpoint_path(n + 1)):
                await self._copy(path, log)
            await self._cursors.put(JOB, str(n + 1))

    async def _copy(self, path: str, log: AnchorStore) -> None:
        content = await log.read(path)
        if content is None:
            raise StorageUnavailable(f"{path} is missing in the log, so it cannot be copied.")
        if not await self._copies.create(path, content) and await self._copies.read(path) != content:
            raise AlreadyExists(f"The second container has another {path} than the log.")


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
