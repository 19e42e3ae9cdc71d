"""Background work that outlives its request: draining a stream, settling an abandoned attempt."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine

from shared.application.structured_log import fields_of, log_event


class Background:
    """Holds references to tasks, so that they are not collected, and lets a shutdown wait for them."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[object]] = set()

    def start(self, work: Coroutine[object, object, object]) -> None:
        """Run `work` to its end in a task of its own, which no disconnect cancels."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._end)

    def _end(self, task: asyncio.Task[object]) -> None:
        """Report work that failed. The event loop would log the error's message, which may quote content."""
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log_event(logging.ERROR, "gateway.background.failed", fields_of(error))

    @property
    def is_busy(self) -> bool:
        """Some work has not ended."""
        return bool(self._tasks)

    async def drain(self) -> None:
        """Wait until all work has ended, also work that starts meanwhile."""
        while self.is_busy:
            await asyncio.wait(self._tasks)
