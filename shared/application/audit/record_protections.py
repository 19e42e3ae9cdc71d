"""Record which protections the settings switch off, whenever that changes."""

from __future__ import annotations

from contextlib import suppress
from typing import Final

from shared.application.audit.record_audit import Actor
from shared.application.ports.audit import StoredProtections
from shared.application.ports.clock import Clock
from shared.domain.audit.protections import WeakSettings
from shared.domain.errors import VersionConflict

_SETTINGS: Final = Actor(name="settings")


class RecordProtections:
    """Compares the settings of this process with what was recorded last. Part of the timer `chain_audit`."""

    def __init__(self, stored: StoredProtections, clock: Clock, weak: tuple[str, ...]) -> None:
        """`weak` names the settings that take away a protection."""
        self._stored = stored
        self._clock = clock
        self._weak = WeakSettings(weak_settings=weak)

    async def __call__(self) -> None:
        """Store an event if other settings are weak than before. Raises `StorageUnavailable`."""
        before = await self._stored.get()
        if before == self._weak or (before is None and not self._weak.weak_settings):
            return
        event = _SETTINGS.event(self._clock.now(), "settings.protections", "settings", before=before, after=self._weak)
        with suppress(VersionConflict):  # another process has recorded it
            await self._stored.replace(self._weak, event)
