"""Tell the other processes that this one lives."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Final

from shared.application.ports.clock import Clock
from shared.application.ports.health import States
from shared.application.structured_log import fields_of, log_event
from shared.domain.errors import StorageUnavailable
from shared.domain.health.instance import Instance

BEAT_SECONDS: Final = 60.0
_KEPT: Final = timedelta(days=1)


class TellInstance:
    """Notes this process for `GET /manage/status`. Its row goes a day after it was last seen."""

    def __init__(self, instances: States[Instance], clock: Clock, name: str, version: str) -> None:
        self._instances = instances
        self._clock = clock
        self._name = name
        self._version = version
        self._started_at = clock.now()

    async def __call__(self) -> None:
        """Note this process as seen now. A failure is logged, and the next beat tries again."""
        now = self._clock.now()
        this = Instance(name=self._name, version=self._version, started_at=self._started_at, seen_at=now)
        try:
            await self._instances.note(self._name, this)
        except StorageUnavailable as error:
            log_event(logging.WARNING, "gateway.instance.not_noted", fields_of(error))

    async def keep_telling(self) -> None:
        """Note this process every minute, until cancelled."""
        while True:
            await self._clock.sleep(BEAT_SECONDS)
            await self()

    async def forget_old(self) -> int:
        """Delete the rows of processes that were not seen for a day, or a day ahead of now. Returns their number."""
        now = self._clock.now()
        old = [name for name, each in (await self._instances.all()).items() if abs(now - each.seen_at) > _KEPT]
        for name in old:
            await self._instances.forget(name)
        return len(old)
