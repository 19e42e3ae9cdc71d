"""Raise alerts about limits: once for each period, and again only if the limit was raised."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Final

from shared.application.alerts.store_alert import StoreAlert
from shared.application.ports.alerts import AlertOutbox
from shared.domain.alerts.alert import Alert

LIMIT: Final = "limit"
"""The member of an alert's data that holds the limit, as a decimal."""
_MOST_KNOWN: Final = 100_000


class RaiseOnce:
    """Stores alerts of timers that see the same thing at every run. Remembers them, so that storage is asked once.

    An alert that was stored under a lower limit is stored again under the new one: its id then ends with the limit.
    """

    def __init__(self, store: StoreAlert, outbox: AlertOutbox, most_known: int = _MOST_KNOWN) -> None:
        """`most_known` bounds what is remembered."""
        self._store = store
        self._outbox = outbox
        self._most_known = most_known
        self._known: set[tuple[str, str, str]] = set()

    async def __call__(self, alert: Alert) -> bool:
        """Store an alert. Returns false if it was stored before. Idempotent. Raises `StorageUnavailable`."""
        seen = (alert.kind.value, alert.event_id, alert.data.get(LIMIT, ""))
        if seen in self._known:
            return False
        is_new = await self._store(alert) or await self._stored_under_new_limit(alert)
        if len(self._known) >= self._most_known:
            self._known.clear()
        self._known.add(seen)
        return is_new

    async def _stored_under_new_limit(self, alert: Alert) -> bool:
        earlier = await self._outbox.find(alert.tenant_id, alert.kind, alert.event_id)
        limit = alert.data.get(LIMIT)
        if earlier is None or limit is None or Decimal(limit) <= Decimal(earlier.data.get(LIMIT, limit)):
            return False
        return await self._store(replace(alert, event_id=f"{alert.event_id}:{limit}"))
