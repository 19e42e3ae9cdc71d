"""Record refused requests in the audit log: one event a process and minute, so that nobody can write it full."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Final

from shared.application.audit.count_refusals import Refusal
from shared.application.audit.record_audit import Actor
from shared.application.background import Background
from shared.application.ports.audit import AuditOutbox
from shared.application.ports.clock import Clock
from shared.application.structured_log import COUNT, log_event
from shared.domain.audit.events import AuditEvent, RefusalCount, RefusalSummary
from shared.domain.errors import AlreadyExists, StorageUnavailable

_LISTED: Final = 200
"""The most series that one event names. They are the largest; `count` has all."""
_KEPT: Final = 60
"""The most minutes that wait in memory while storage cannot be reached."""


class RecordRefusals:
    """Stores the counts of each minute in the background. Storage that cannot be reached is tried again a minute later.

    A process that dies loses the minute that it was counting.
    """

    def __init__(self, outbox: AuditOutbox, background: Background, clock: Clock) -> None:
        self._outbox = outbox
        self._background = background
        self._clock = clock
        self._unstored: deque[tuple[AuditEvent, int]] = deque()

    def __call__(self, minute: str, counts: Mapping[Refusal, int]) -> None:
        """Record the counts of a minute."""
        if counts:
            count = sum(counts.values())
            summary = RefusalSummary(minute=minute, count=count, refusals=_listed(counts))
            event = Actor(name="").event(self._clock.now(), "access.denied", "", after=summary)
            self._unstored.append((event, count))
            self._background.start(self._store())

    async def _store(self) -> None:
        """Store what waits, the oldest first. Two runs at once may take the same: it is stored once all the same."""
        try:
            while self._unstored:
                oldest = self._unstored[0]
                await self._append(oldest[0])
                with suppress(ValueError):
                    self._unstored.remove(oldest)
        except StorageUnavailable:
            while len(self._unstored) > _KEPT:
                _, lost = self._unstored.popleft()
                log_event(logging.ERROR, "gateway.refusals.lost", {COUNT: lost})

    async def _append(self, event: AuditEvent) -> None:
        try:
            await self._outbox.append(event)
        except AlreadyExists:  # the answer to an earlier try was lost
            return


def _listed(counts: Mapping[Refusal, int]) -> tuple[RefusalCount, ...]:
    """Return the largest series."""
    largest = sorted(counts.items(), key=lambda each: -each[1])[:_LISTED]
    return tuple(
        RefusalCount(reason=each.reason, tenant=each.tenant_id, key=each.key_id, source=each.source, count=count)
        for each, count in largest
    )
