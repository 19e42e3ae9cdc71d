"""Ports to tenants and their keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Generic, Protocol, TypeAlias, TypeVar

from shared.domain.audit.events import AuditEvent
from shared.domain.tenancy.grant import GrantName, RequestedGrant
from shared.domain.tenancy.keys import GatewayKey
from shared.domain.tenancy.tenant import Tenant
from shared.domain.values import value

T = TypeVar("T")
KeyName: TypeAlias = tuple[str, str]
"""Tenant id and key id."""


@value
class Versioned(Generic[T]):
    """A stored object and the ETag of the version that was read."""

    value: T
    etag: str


@value
class TenantPage:
    """Tenants in the order of their ids, and the ids of those between them whose documents cannot be read."""

    tenants: Sequence[Versioned[Tenant]]
    damaged: Sequence[str]


@value
class StoredKeys:
    """The keys of a tenant, and the ids of those whose documents cannot be read."""

    readable: Sequence[GatewayKey]
    damaged: Sequence[str]


class TenantDirectory(Protocol):
    """The registered tenants. Each method is atomic and raises `StorageUnavailable`.

    A change is stored together with its event: both, or neither.
    """

    async def get(self, tenant_id: str) -> Versioned[Tenant] | None:
        """Return a tenant in any state; `None` if it is not registered.

        Raises `TenantsDamaged` if its document cannot be read.
        """
        ...

    async def insert(self, tenant: Tenant, event: AuditEvent) -> Versioned[Tenant]:
        """Register a tenant. Raises `AlreadyExists` if its id is taken."""
        ...

    async def replace(self, tenant: Tenant, etag: str, event: AuditEvent) -> Versioned[Tenant]:
        """Replace a tenant if `etag` names its current version; `*` names any version.

        Raises `VersionConflict` otherwise.
        """
        ...

    async def list(self, limit: int, cursor: str | None) -> tuple[list[Versioned[Tenant]], str | None]:
        """Return at most `limit` tenants in the order of ids, and the cursor of the next page.

        The cursor is `None` for the first page, and `None` is returned with the last page. Raises `TenantsDamaged` for
        documents that cannot be read.
        """
        ...

    async def list_readable(self, limit: int, cursor: str | None) -> tuple[TenantPage, str | None]:
        """Return a page as `list` does, with the ids of those whose documents cannot be read."""
        ...


class GrantRequests(Protocol):
    """The grants that were asked for, and of which nobody knows yet whether the ledger has booked them.

    Each method is atomic and raises `StorageUnavailable`.
    """

    async def add(self, requested: RequestedGrant, event: AuditEvent) -> Versioned[RequestedGrant]:
        """Store a request together with its event. Raises `AlreadyExists` if one of its name is stored."""
        ...

    async def find(self, name: GrantName) -> Versioned[RequestedGrant] | None:
        """Return a request; `None` if there is none. Raises `RowsDamaged` if it cannot be read."""
        ...

    async def take_over(self, found: Versioned[RequestedGrant]) -> Versioned[RequestedGrant]:
        """Give a request a new version, so that no other process ends it. Raises `VersionConflict`."""
        ...

    async def remove(self, found: Versioned[RequestedGrant]) -> None:
        """Delete a request that is booked. Raises `VersionConflict` if another process has it by now."""
        ...

    async def refuse(self, found: Versioned[RequestedGrant], event: AuditEvent) -> None:
        """Delete a request together with the event of its refusal. Raises `VersionConflict` as `remove` does."""
        ...

    async def names(self) -> Sequence[GrantName]:
        """Return the names of all requests, also of those that cannot be read."""
        ...


class KeyDirectory(Protocol):
    """The gateway keys of tenants. Each method is atomic and raises `StorageUnavailable`.

    A change is stored together with its event: both, or neither.
    """

    async def get(self, tenant_id: str, key_id: str) -> Versioned[GatewayKey] | None:
        """Return a key, in force or not; `None` if it is unknown. Raises `RowsDamaged` if it cannot be read."""
        ...

    async def names(self) -> frozenset[KeyName]:
        """Return tenant id and key id of every key, in force or not."""
        ...

    async def insert(self, key: GatewayKey, event: AuditEvent) -> Versioned[GatewayKey]:
        """Insert a key. Raises `AlreadyExists` if its id is taken."""
        ...

    async def replace(self, key: GatewayKey, etag: str, event: AuditEvent) -> Versioned[GatewayKey]:
        """Replace a key if `etag` names its current version. Raises `VersionConflict` otherwise."""
        ...

    async def rotate(self, old: GatewayKey, etag: str, new: GatewayKey, of_old: AuditEvent, of_new: AuditEvent) -> None:
        """Replace the version `etag` of the old key, and insert the new one: both or none. Raises as the two do."""
        ...

    async def remove(self, key: GatewayKey, event: AuditEvent) -> None:
        """Remove a key. Raises `VersionConflict` if another process changes or removes it meanwhile."""
        ...
        ...

    async def list(self, tenant_id: str) -> StoredKeys:
        """Return all keys of a tenant, in the order of key ids."""
        ...


class KeyUses(Protocol):
    """The time at which each gateway key was last used. Each method raises `StorageUnavailable`."""

    async def note(self, name: KeyName, used_at: datetime) -> None:
        """Store a use, unless a later one is stored. Atomic and idempotent."""
        ...

    async def last(self, tenant_id: str) -> Mapping[str, datetime]:
        """Return the last stored use by key id. Keys that were never used are missing."""
        ...

    async def remove(self, name: KeyName) -> None:
        """Forget a key. Harmless if it was never used."""
        ...
