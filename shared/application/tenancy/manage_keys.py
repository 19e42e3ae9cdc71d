"""Create, list, change and revoke the keys of a tenant. `rotate_key.py` rotates them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Final

from shared.application.audit.record_audit import Actor
from shared.application.ports.clock import Clock
from shared.application.ports.tenancy import KeyDirectory, KeyUses, TenantDirectory, Versioned
from shared.application.tenancy.authenticate import Authenticate
from shared.domain.errors import InvalidRequest, KeyEnded, NotFound, VersionConflict
from shared.domain.tenancy.keys import GatewayKey, KeyState, new_gateway_key
from shared.domain.tenancy.tenant import Tenant
from shared.domain.values import value

MAX_KEYS_IN_FORCE: Final = 500
MAX_STORED_KEYS: Final = 1000
"""The most keys of a tenant, with those that have ended."""


@value
class KnownKey:
    """A key as its administrators see it."""

    key: GatewayKey
    state: KeyState
    last_used_at: datetime | None
    """The hour of its last use; `None` if no use is known."""


@value
class KnownKeys:
    """The keys of a tenant, and the ids of those whose documents cannot be read. Those are accepted nowhere."""

    known: Sequence[KnownKey]
    damaged: Sequence[str]


class ManageKeys:
    """The use cases of `/manage/tenants/{tenant}/keys`. All methods raise `NotFound` and `StorageUnavailable`.

    A change is effective in this process at once, and in others within 25 s.
    """

    def __init__(
        self, tenants: TenantDirectory, keys: KeyDirectory, uses: KeyUses, authenticate: Authenticate, clock: Clock
    ) -> None:
        self._tenants = tenants
        self._keys = keys
        self._uses = uses
        self._authenticate = authenticate
        self._clock = clock

    async def create(
        self, tenant_id: str, settings: Callable[[GatewayKey], GatewayKey], actor: Actor
    ) -> tuple[GatewayKey, str]:
        """Create a key with these settings. Returns its credential, too, which can never be read again.

        Raises `InvalidRequest` for settings that no key of the tenant can have, and if the tenant has too many keys.
        """
        tenant, now = await self._tenant(tenant_id), self._clock.now()
        new, credential = new_gateway_key(tenant_id, now, None)
        key = replace(settings(new), created_by=actor.name)
        _check(key, tenant, now)
        await self.make_room(tenant_id, actor)
        await self._keys.insert(key, actor.event(now, "key.create", f"{tenant_id}/{key.key_id}", after=key))
        self._authenticate.forget(tenant_id)
        return key, credential

    async def list(self, tenant_id: str) -> KnownKeys:
        """Return all keys of a tenant, also those that have ended, with their last uses."""
        await self._tenant(tenant_id)
        last_uses, now = await self._uses.last(tenant_id), self._clock.now()
        keys = await self._keys.list(tenant_id)
        known = [KnownKey(key, key.state(now), last_uses.get(key.key_id)) for key in keys.readable]
        return KnownKeys(known, keys.damaged)

    async def get(self, tenant_id: str, key_id: str) -> Versioned[KnownKey]:
        """Return a key with its last use."""
        return await self._known(await self.find(tenant_id, key_id))

    async def change(
        self,
        tenant_id: str,
        key_id: str,
        change: Callable[[GatewayKey], GatewayKey],
        etags: Collection[str],
        actor: Actor,
    ) -> Versioned[KnownKey]:
        """Apply `change` to the version that `etags` name; if empty, to the one that is current when it is written.

        A change that changes nothing has no event. Raises `VersionConflict`, `KeyEnded` for a revoked key, and
        `InvalidRequest` for settings that it cannot have.
        """
        tenant = await self._tenant(tenant_id)

        def checked(key: GatewayKey) -> GatewayKey:
            if key.revoked_at is not None:
                raise KeyEnded(f"The key '{key_id}' is revoked, so it cannot be changed.")
            changed = change(key)
            _check(changed, tenant, self._clock.now(), before=key)
            return changed

        return await self._known(await self._replace(tenant_id, key_id, checked, etags, actor, "key.change"))

    async def revoke(self, tenant_id: str, key_id: str, actor: Actor) -> None:
        """Revoke a key. Idempotent."""
        now = self._clock.now()

        def revoked(key: GatewayKey) -> GatewayKey:
            return key if key.revoked_at is not None else replace(key, revoked_at=now)

        await self._replace(tenant_id, key_id, revoked, (), actor, "key.revoke")

    async def find(self, tenant_id: str, key_id: str) -> Versioned[GatewayKey]:
        """Return a key, in force or not."""
        found = await self._keys.get(tenant_id, key_id)
        if found is None:
            raise NotFound(f"Tenant '{tenant_id}' has no key '{key_id}'.")
        return found

    async def make_room(self, tenant_id: str, actor: Actor) -> None:
        """Make room for one more key: remove the key that ended first, if as many are stored as may be.

        Raises `InvalidRequest` if too many keys are in force. Two calls at once may exceed the limits by one key.
        """
        stored, now = await self._keys.list(tenant_id), self._clock.now()
        ended = [(at, key.key_id, key) for key in stored.readable if (at := key.ended_at(now)) is not None]
        if len(stored.readable) - len(ended) >= MAX_KEYS_IN_FORCE:
            raise InvalidRequest(f"The tenant has {MAX_KEYS_IN_FORCE} keys in force. Revoke keys that are not used.")
        if len(stored.readable) >= MAX_STORED_KEYS:
            *_, first = min(ended)
            event = actor.event(now, "key.remove", f"{tenant_id}/{first.key_id}", before=first)
            with suppress(VersionConflict):  # another process removes or changes it: there is room for one key less
                await self._keys.remove(first, event)
            await self._uses.remove((tenant_id, first.key_id))

    async def _replace(
        self,
        tenant_id: str,
        key_id: str,
        change: Callable[[GatewayKey], GatewayKey],
        etags: Collection[str],
        actor: Actor,
        action: str,
    ) -> Versioned[GatewayKey]:
        while True:
            before = await self.find(tenant_id, key_id)
            if etags and before.etag not in etags:
                raise VersionConflict
            after = change(before.value)
            if after == before.value:
                self._authenticate.forget(tenant_id)
                return before
            target = f"{tenant_id}/{key_id}"
            event = actor.event(self._clock.now(), action, target, before=before.value, after=after)
            with suppress(VersionConflict):  # the next round refuses a change of a named version
                replaced = await self._keys.replace(after, before.etag, event)
                self._authenticate.forget(tenant_id)
                return replaced

    async def _known(self, found: Versioned[GatewayKey]) -> Versioned[KnownKey]:
        key = found.value
        last_uses = await self._uses.last(key.tenant_id)
        return Versioned(KnownKey(key, key.state(self._clock.now()), last_uses.get(key.key_id)), found.etag)

    async def _tenant(self, tenant_id: str) -> Tenant:
        found = await self._tenants.get(tenant_id)
        if found is None:
            raise NotFound(f"No tenant '{tenant_id}' is registered.")
        return found.value


def _check(key: GatewayKey, tenant: Tenant, now: datetime, before: GatewayKey | None = None) -> None:
    """Raise `InvalidRequest` for an expiry that has passed, and for deployments that are not the tenant's.

    A setting that the key had before is not judged again.
    """
    is_new_expiry = before is None or key.expires_at != before.expires_at
    if is_new_expiry and key.expires_at is not None and key.expires_at <= now:
        raise InvalidRequest("'expires_at' must be in the future.", "expires_at")
    known = {*tenant.deployments, *((before and before.deployments) or ())}
    missing = [name for name in key.deployments or () if name not in known]
    if missing:
        raise InvalidRequest(f"The tenant has no deployment '{missing[0]}'.", "deployments")
