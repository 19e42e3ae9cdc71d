"""The port to the outbox of alerts."""

from __future__ import annotations

from typing import Protocol

from shared.domain.alerts.alert import Alert


class AlertOutbox(Protocol):
    """The alerts that are to be delivered."""

    async def add(self, alert: Alert) -> bool:
        """Store an alert. Returns false if its id is stored already, which changes nothing.

        Atomic and idempotent. Raises `StorageUnavailable`; the alert may then be stored all the same.
        """
        ...
