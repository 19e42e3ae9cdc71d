"""Rotate a key: create its successor and set its own end, in one step."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from shared.application.audit.record_audit import Actor
from shared.application.ports.clock import Clock
from shared.application.ports.tenancy import KeyDirectory
from shared.application.tenancy.authenticate import Authenticate
from shared.application.tenancy.manage_keys import ManageKeys
from shared.domain.errors import KeyEnded, KeyReplaced, VersionConflict
from shared.domain.tenancy.keys import GatewayKey, successor_of
from shared.domain.tenancy.rotation import Rotation
from shared.domain.values import value


@value
class RotatedKey:
    """The new key with its credential, and the old key with its end."""

    new: GatewayKey
    credential: str
    old: GatewayKey


class RotateKey:
    """The use case of `POST /manage/tenants/{tenant}/keys/{key}/rotate`."""

    def __init__(self, keys: KeyDirectory, manage: ManageKeys, authenticate: Authenticate, clock: Clock) -> None:
        self._keys = keys
        self._manage = manage
        self._authenticate = authenticate
        self._clock = clock

    async def __call__(self, tenant_id: str, key_id: str, rotation: Rotation, actor: Actor) -> RotatedKey:
        """Rotate a key. Its successor has its label, owner, scope, deployments and address ranges.

        A key is rotated once: of two calls, also at the same time, one raises `KeyReplaced`, which names the successor.
        Raises `NotFound`, `InvalidRequest`, `KeyEnded`, and `StorageUnavailable`; the key may then be rotated already.
        """
        while True:
            with suppress(VersionConflict):  # somebody changed the key meanwhile: the next round takes its new version
                rotated = await self._rotate(tenant_id, key_id, rotation, actor)
                break
        self._authenticate.forget(tenant_id)
        return rotated

    async def _rotate(self, tenant_id: str, key_id: str, rotation: Rotation, actor: Actor) -> RotatedKey:
        found, now = await self._manage.find(tenant_id, key_id), self._clock.now()
        before = found.value
        if before.replaced_by:
            raise KeyReplaced(key_id, before.replaced_by)
        if not before.is_in_force(lambda: now):
            raise KeyEnded(f"The key '{key_id}' is revoked or has expired. Create a new one.")
        made, credential = successor_of(before, now, rotation.end_of_new(before, now))
        new = replace(made, created_by=actor.name)
        old = replace(before, expires_at=rotation.end_of_old(before, now), replaced_by=new.key_id)
        await self._manage.make_room(tenant_id, actor)
        await self._keys.rotate(
            old,
            found.etag,
            new,
            actor.event(now, "key.rotate", f"{tenant_id}/{key_id}", before=before, after=old),
            actor.event(now, "key.create", f"{tenant_id}/{new.key_id}", after=new),
        )
        return RotatedKey(new, credential, old)
