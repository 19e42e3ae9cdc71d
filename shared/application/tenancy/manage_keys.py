"""Create, list and revoke a tenant's keys. Rotation is create, then revoke, with both in force between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from shared.application.audit.record_audit import Actor, RecordAudit
from shared.application.ports.clock import Clock
from shared.application.ports.tenancy import KeyDirectory, TenantDirectory
from shared.application.tenancy.authenticate import Authenticate
from shared.domain.errors import NotFound
from shared.domain.tenancy.keys import GatewayKey, new_gateway_key


class ManageKeys:
    """A credential is shown once, at creation; afterwards only its SHA-256 is known."""

    def __init__(
        self,
        tenants: TenantDirectory,
        keys: KeyDirectory,
        authenticate: Authenticate,
        audit: RecordAudit,
        clock: Clock,
    ) -> None:
        self._tenants = tenants
        self._keys = keys
        self._authenticate = authenticate
        self._audit = audit
        self._clock = clock

    async def create(self, tenant_id: str, expires_at: datetime | None, actor: Actor) -> tuple[GatewayKey, str]:
        """The new key and its credential. Raises `NotFound` for an unknown tenant."""
        await self._require_tenant(tenant_id)
        key, credential = new_gateway_key(tenant_id, self._clock.now(), expires_at)
        await self._keys.insert(key)
        await self._audit(actor, "key.create", f"{tenant_id}/{key.key_id}")
        return key, credential

    async def list(self, tenant_id: str) -> Sequence[GatewayKey]:
        """Every key of a tenant, revoked ones too. Raises `NotFound` for an unknown tenant."""
        await self._require_tenant(tenant_id)
        return await self._keys.list(tenant_id)

    async def revoke(self, tenant_id: str, key_id: str, actor: Actor) -> None:
        """Refuse the key from now on: here at once, in other processes within 25 s. Idempotent."""
        key = await self._keys.get(tenant_id, key_id)
        if key is None:
            raise NotFound(f"Tenant '{tenant_id}' has no key '{key_id}'.")
        if key.revoked_at is None:
            await self._keys.replace(replace(key, revoked_at=self._clock.now()))
            await self._audit(actor, "key.revoke", f"{tenant_id}/{key_id}")
        self._authenticate.forget(tenant_id)

    async def _require_tenant(self, tenant_id: str) -> None:
        if await self._tenants.get(tenant_id) is None:
            raise NotFound(f"No tenant '{tenant_id}' is registered.")
