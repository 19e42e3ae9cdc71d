"""Raise alerts about limits: once for each period, and again only if the limit was raised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Final

from shared.application.alerts.store_alert import StoreAlert
from shared.application.ports.alerts import AlertOutbox
from shared.domain.alerts.alert import Alert

LIMIT: Final = "limit"
"""The member of an alert's data that holds the limit, as a decimal."""
_ABOVE_ALL: Final = Decimal("Infinity")
_MOST_KNOWN: Final = 100_000


class RaiseOnce:
    """Stores alerts of timers that see the same thing at every run. Remembers them, so that storage is asked once.

    An alert is stored again if its limit is above every limit under which it was stored. Its id then ends with the
    highest of these. So of several processes that see this at once, one stores it, and the others look again.
    """

    def __init__(self, store: StoreAlert, outbox: AlertOutbox, most_known: int = _MOST_KNOWN) -> None:
        """`most_known` bounds what is remembered."""
        self._store = store
        self._outbox = outbox
        self._most_known = most_known
        self._known: dict[tuple[str, str], Decimal] = {}
        """By kind and id: the limit up to which nothing is left to tell."""

    async def __call__(self, alert: Alert) -> bool:
        """Store an alert. Returns false if it was stored before. Idempotent. Raises `StorageUnavailable`."""
        name, limit = (alert.kind.value, alert.event_id), _limit(alert.data)
        if limit <= self._known.get(name, -_ABOVE_ALL):
            return False
        is_new = await self._store(alert) or await self._stored_above_earlier_limits(alert, limit)
        if len(self._known) >= self._most_known:
            self._known.clear()
        self._known[name] = limit
        return is_new

    async def _stored_above_earlier_limits(self, alert: Alert, limit: Decimal) -> bool:
        """Store the successor of the alert with the highest limit. If another process has, look at that one, too.

        A successor that is stored and cannot be read changes nothing at the second look, and ends this.
        """
        seen, highest = -_ABOVE_ALL, await self._highest_limit(alert) if limit.is_finite() else _ABOVE_ALL
        while seen < highest < limit:
            if await self._store(replace(alert, event_id=f"{alert.event_id}:above:{highest:f}")):
                return True
            seen, highest = highest, await self._highest_limit(alert)
        return False

    async def _highest_limit(self, alert: Alert) -> Decimal:
        stored = await self._outbox.with_successors(alert.tenant_id, alert.kind, alert.event_id)
        return max((_limit(each.data) for each in stored), default=_ABOVE_ALL)


def _limit(data: Mapping[str, str]) -> Decimal:
    """Return the limit that an alert states. One that states none, or no amount, is taken as above all limits."""
    try:
        stated = Decimal(data.get(LIMIT, _ABOVE_ALL))
        return stated if stated >= 0 else _ABOVE_ALL
    except InvalidOperation:  # it is no number: to compare NaN is invalid, too
        return _ABOVE_ALL
