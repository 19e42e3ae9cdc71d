"""Note when keys were last used, in the background."""

from __future__ import annotations

from datetime import datetime

from shared.application.background import Background
from shared.application.ports.clock import Clock
from shared.application.ports.tenancy import KeyName, KeyUses
from shared.domain.errors import StorageUnavailable


class NoteKeyUse:
    """Stores the hour of a use, at most once for a key and hour. Writes one after the other, so that it never floods.

    No request waits for it, and none fails by it.
    """

    def __init__(self, uses: KeyUses, clock: Clock, background: Background) -> None:
        self._uses = uses
        self._clock = clock
        self._background = background
        self._hour: datetime | None = None
        self._noted: set[KeyName] = set()
        """The keys whose use in this hour is stored, or about to be."""
        self._waiting: list[tuple[KeyName, datetime]] = []
        self._is_writing = False

    def __call__(self, name: KeyName) -> None:
        """Note that a key was used now."""
        hour = self._clock.now().replace(minute=0, second=0, microsecond=0)
        if hour != self._hour:
            self._hour, self._noted = hour, set()
        if name in self._noted:
            return
        self._noted.add(name)
        self._waiting.append((name, hour))
        if not self._is_writing:
            self._is_writing = True
            self._background.start(self._write())

    async def _write(self) -> None:
        """Store what waits. A use that cannot be stored is noted again when the key is next used."""
        try:
            while self._waiting:
                name, hour = self._waiting.pop()
                try:
                    await self._uses.note(name, hour)
                except StorageUnavailable:
                    self._noted.discard(name)
        finally:
            self._is_writing = False
