"""Store an alert in the outbox."""

from __future__ import annotations

from shared.application.ports.alerts import AlertOutbox
from shared.domain.alerts.alert import Alert


class StoreAlert:
    """Stores an alert at once, for timers and other work that can wait for it. Requests use `RaiseAlert`."""

    def __init__(self, outbox: AlertOutbox) -> None:
        self._outbox = outbox

    async def __call__(self, alert: Alert) -> bool:
        """Store an alert. Returns false if one of its kind and id was stored before, which changes nothing.

        Idempotent. Raises `StorageUnavailable`.
        """
        return await self._outbox.add(alert)
