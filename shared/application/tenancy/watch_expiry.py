"""Raise alerts about gateway keys that expire soon."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from shared.application.alerts.raise_once import RaiseOnce
from shared.application.ports.clock import Clock
from shared.application.ports.tenancy import KeyDirectory, TenantDirectory
from shared.application.sweep import Sweep
from shared.application.tenancy.every_tenant import every_tenant, tenant_name
from shared.domain.alerts.alert import Alert, AlertKind
from shared.domain.identifiers import timestamp
from shared.domain.tenancy.keys import GatewayKey
from shared.domain.tenancy.tenant import Tenant, TenantState

DAYS_BEFORE: Final = (1, 7, 30)


class WatchExpiry:
    """A part of the timer `watch_spending`. Running late, twice or never is harmless."""

    def __init__(
        self, tenants: TenantDirectory, keys: KeyDirectory, raise_once: RaiseOnce, clock: Clock, sweep: Sweep
    ) -> None:
        self._tenants = tenants
        self._keys = keys
        self._raise_once = raise_once
        self._clock = clock
        self._sweep = sweep

    async def __call__(self) -> int:
        """Look at the keys of every tenant that is not closed. Returns the number of new alerts.

        Tenants that fail are left for the next run. Raises `SweepFailed` once all others are done.
        """
        return (await self._sweep("watch_expiry", every_tenant(self._tenants), self._watch, tenant_name)).done

    async def _watch(self, tenant: Tenant) -> int:
        if tenant.state is TenantState.CLOSED:
            return 0
        raised = 0
        for key in (await self._keys.list(tenant.tenant_id)).readable:
            days = _days_before(key, self._clock.now())
            if days is not None:
                raised += await self._raise_once(self._alert(key, days))
        return raised

    def _alert(self, key: GatewayKey, days: int) -> Alert:
        expires_at = timestamp(key.expires_at or key.created_at)
        return Alert(
            kind=AlertKind.KEY_EXPIRES_SOON,
            event_id=f"{key.key_id}:{expires_at}:{days}",
            at=self._clock.now(),
            subject=f"tenants/{key.tenant_id}/keys/{key.key_id}",
            tenant_id=key.tenant_id,
            data={
                "key_id": key.key_id,
                "label": key.label,
                "owner": key.owner,
                "expires_at": expires_at,
                "days": str(days),
            },
        )


def _days_before(key: GatewayKey, now: datetime) -> int | None:
    """Return the least of 30, 7 and 1 days within which a key expires; `None` if nobody need be told.

    A key that was made to live for no longer, one that was rotated, and one that has ended need no alert.
    """
    expires_at = key.expires_at
    if expires_at is None or key.replaced_by or not key.is_in_force(lambda: now):
        return None
    for days in DAYS_BEFORE:
        ahead = timedelta(days=days)
        if expires_at - now <= ahead:
            return days if expires_at - key.created_at > ahead else None
    return None
