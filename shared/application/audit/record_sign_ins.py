"""Record the use of the admin key: one event for each source and hour."""

from __future__ import annotations

from typing import Final

from shared.application.audit.record_audit import Actor, RecordAudit
from shared.application.background import Background
from shared.application.ports.clock import Clock
from shared.domain.errors import StorageUnavailable

_MAX_SOURCES: Final = 1000
ACTION: Final = "admin_key.use"


class RecordSignIns:
    """Stores an event when this process first sees the key from a source in an hour, in the background."""

    def __init__(self, record: RecordAudit, background: Background, clock: Clock, admin: str) -> None:
        """`admin` is the name of the actor that uses the admin key."""
        self._record = record
        self._background = background
        self._clock = clock
        self._admin = admin
        self._hour = ""
        self._seen: set[str] = set()

    def __call__(self, actor: Actor) -> None:
        """Note that an actor has signed in."""
        if actor.name != self._admin:
            return
        hour = f"{self._clock.now():%Y-%m-%dT%H}"
        if hour != self._hour:
            self._hour, self._seen = hour, set()
        if actor.source_address not in self._seen and len(self._seen) < _MAX_SOURCES:
            self._seen.add(actor.source_address)
            self._background.start(self._store(actor))

    async def _store(self, actor: Actor) -> None:
        try:
            await self._record(actor, ACTION, self._admin)
        except StorageUnavailable:
            self._seen.discard(actor.source_address)  # the next use tries again
