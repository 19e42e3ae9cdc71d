"""The port to the aliases of users."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

from shared.application.ports.tenancy import Versioned
from shared.domain.audit.events import AuditEvent
from shared.domain.tenancy.pseudonyms import PseudonymState


class Pseudonyms(Protocol):
    """The aliases of a tenant's users, by the keys of their rows. All methods raise `StorageUnavailable`."""

    async def alias(self, tenant_id: str, key: str) -> str | None:
        """Return the alias of a user; `None` if there is none."""
        ...

    async def state(self, tenant_id: str) -> Versioned[PseudonymState]:
        """Return the state of a tenant's aliases. The ETag of one that was never written is empty."""
        ...

    async def add(self, tenant_id: str, key: str, alias: str, before: str, after: PseudonymState) -> None:
        """Store an alias, and the state after it in place of the version `before`: both or neither.

        Raises `AlreadyExists` and `VersionConflict` if another process was faster.
        """
        ...

    async def erase(
        self, tenant_id: str, keys: Collection[str], before: str, after: PseudonymState, event: AuditEvent
    ) -> None:
        """Delete aliases, and store the state and the event: all or none.

        Neither the event nor its row names the deleted rows. Raises `VersionConflict` if the state is no longer
        `before`, or an alias is gone.
        """
        ...
