"""Work that outlives the request that caused it: draining a stream, settling an abandoned attempt."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine


class Background:
    """Keeps tasks alive and lets a shutdown wait for them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()

    def start(self, work: Coroutine[object, object, object]) -> None:
        """Run `work` to its end, whoever goes away meanwhile."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @property
    def is_busy(self) -> bool:
        """Whether any work is left."""
        return bool(self._tasks)

    async def drain(self) -> None:
        """Return when no work is left."""
        while self.is_busy:
            await asyncio.wait(self._tasks)
