"""Look up the alias of a user, and erase it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from shared.application.audit.record_audit import Actor, RecordAudit
from shared.application.ports.clock import Clock
from shared.application.ports.pseudonyms import Pseudonyms
from shared.application.ports.tenancy import TenantDirectory
from shared.application.tenancy.privacy_keys import PrivacyKeys
from shared.application.tenancy.pseudonymise_users import PseudonymiseUsers
from shared.domain.errors import AlreadyExists, NotFound, VersionConflict
from shared.domain.tenancy.pseudonyms import user_key


class ManagePseudonyms:
    """Serves requests of persons about their data. No event names a user or an alias, so that none links them."""

    def __init__(
        self,
        pseudonyms: Pseudonyms,
        tenants: TenantDirectory,
        keys: PrivacyKeys,
        users: PseudonymiseUsers,
        audit: RecordAudit,
        clock: Clock,
    ) -> None:
        self._pseudonyms = pseudonyms
        self._tenants = tenants
        self._keys = keys
        self._users = users
        self._audit = audit
        self._clock = clock

    async def look_up(self, tenant_id: str, user: str, actor: Actor) -> list[str]:
        """Return the aliases of a user, newest key first; more than one only after a rotation of the privacy key.

        The event is stored before the answer. Raises `NotFound`, `StorageUnavailable` and `SecretUnavailable`.
        """
        found = await self._required(tenant_id, user)
        await self._audit(actor, "user.lookup", tenant_id)
        return list(dict.fromkeys(found.values()))

    async def erase(self, tenant_id: str, user: str, actor: Actor) -> None:
        """Delete the link between a user and its aliases, with an event.

        Entries keep the alias. If the person comes again, it gets a new one. Raises as `look_up` does.
        """
        while True:
            state = await self._pseudonyms.state(tenant_id)
            found = await self._required(tenant_id, user)
            event = actor.event(self._clock.now(), "user.erase", tenant_id)
            with suppress(AlreadyExists, VersionConflict):  # an alias was made or erased meanwhile
                await self._pseudonyms.erase(tenant_id, [*found], state.etag, state.value.with_erasure(), event)
                self._users.forget(tenant_id)
                return

    async def _required(self, tenant_id: str, user: str) -> Mapping[str, str]:
        """Return the aliases of a user by the keys of their rows. Raises `NotFound` if there is none."""
        if await self._tenants.get(tenant_id) is None:
            raise NotFound(f"No tenant '{tenant_id}' is registered.")
        keys = [user_key(key, tenant_id, user) for key in await self._keys.all()]
        found = {key: alias for key in keys if (alias := await self._pseudonyms.alias(tenant_id, key)) is not None}
        if not found:
            raise NotFound("No alias of this user is stored.")
        return found
