"""Ports to tenants and their keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeAlias, TypeVar

from shared.domain.audit.events import AuditEvent
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


class TenantDirectory(Protocol):
    """The registered tenants. Each method is atomic and raises `StorageUnavailable`.

    A change is stored together with its event: both, or neither.
    """

    async def get(self, tenant_id: str) -> Versioned[Tenant] | None:
        """Return a tenant in any state; `None` if it is not registered."""
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


class KeyDirectory(Protocol):
    """The gateway keys of tenants. Each method is atomic and raises `StorageUnavailable`.

    A change is stored together with its event: both, or neither.
    """

    async def get(self, tenant_id: str, key_id: str) -> GatewayKey | None:
        """Return a key, in force or not; `None` if it is unknown."""
        ...

    async def names(self) -> frozenset[KeyName]:
        """Return tenant id and key id of every key, in force or not."""
        ...

    async def insert(self, key: GatewayKey, event: AuditEvent) -> None:
        """Insert a key. Raises `AlreadyExists` if its id is taken."""
        ...

    async def replace(self, key: GatewayKey, event: AuditEvent) -> None:
        """Replace the key `event.before`. Raises `VersionConflict` if another version stands there, or none."""
        ...

    async def list(self, tenant_id: str) -> Sequence[GatewayKey]:
        """Return all keys of a tenant, in the order of key ids."""
        ...
