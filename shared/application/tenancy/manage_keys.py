"""Create, list and revoke the keys of a tenant. To rotate a key, create a new one, then revoke the old one."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from shared.application.audit.record_audit import Actor
from shared.application.ports.clock import Clock
from shared.application.ports.tenancy import KeyDirectory, TenantDirectory
from shared.application.tenancy.authenticate import Authenticate
from shared.domain.errors import InvalidRequest, NotFound, VersionConflict
from shared.domain.tenancy.keys import GatewayKey, new_gateway_key


class ManageKeys:
    """The use cases of `/manage/tenants/{tenant}/keys`. All methods raise `StorageUnavailable`."""

    def __init__(
        self,
        tenants: TenantDirectory,
        keys: KeyDirectory,
        authenticate: Authenticate,
        clock: Clock,
    ) -> None:
        self._tenants = tenants
        self._keys = keys
        self._authenticate = authenticate
        self._clock = clock

    async def create(self, tenant_id: str, expires_at: datetime | None, actor: Actor) -> tuple[GatewayKey, str]:
        """Create a key. Returns it with its credential, which can never be read again: only its SHA-256 is stored.

        Raises `NotFound` if the tenant does not exist, and `InvalidRequest` if the key would already have expired.
        """
        await self._require_tenant(tenant_id)
        now = self._clock.now()
        if expires_at is not None and expires_at <= now:
            raise InvalidRequest("'expires_at' must be in the future.", "expires_at")
        key, credential = new_gateway_key(tenant_id, now, expires_at)
        await self._keys.insert(key, actor.event(now, "key.create", f"{tenant_id}/{key.key_id}", after=key))
        self._authenticate.forget(tenant_id)
        return key, credential

    async def list(self, tenant_id: str) -> Sequence[GatewayKey]:
        """Return all keys of a tenant, revoked ones included. Raises `NotFound` if the tenant does not exist."""
        await self._require_tenant(tenant_id)
        return await self._keys.list(tenant_id)

    async def revoke(self, tenant_id: str, key_id: str, actor: Actor) -> None:
        """Revoke a key: in this process at once, in others within 25 s. Idempotent. Raises `NotFound`."""
        while (key := await self._key(tenant_id, key_id)).revoked_at is None:
            now = self._clock.now()
            revoked = replace(key, revoked_at=now)
            event = actor.event(now, "key.revoke", f"{tenant_id}/{key_id}", before=key, after=revoked)
            with suppress(VersionConflict):  # another change came between: the next round begins after it
                await self._keys.replace(revoked, event)
                break
        self._authenticate.forget(tenant_id)

    async def _key(self, tenant_id: str, key_id: str) -> GatewayKey:
        key = await self._keys.get(tenant_id, key_id)
        if key is None:
            raise NotFound(f"Tenant '{tenant_id}' has no key '{key_id}'.")
        return key

    async def _require_tenant(self, tenant_id: str) -> None:
        if await self._tenants.get(tenant_id) is None:
            raise NotFound(f"No tenant '{tenant_id}' is registered.")
