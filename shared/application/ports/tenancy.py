"""Ports to tenants and their keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from shared.domain.tenancy.keys import GatewayKey
from shared.domain.tenancy.tenant import Tenant
from shared.domain.values import value

T = TypeVar("T")


@value
class Versioned(Generic[T]):
    """A stored object and the ETag of the version that was read."""

    value: T
    etag: str


class TenantDirectory(Protocol):
    """Tenants by id. Raises `StorageUnavailable`."""

    async def get(self, tenant_id: str) -> Versioned[Tenant] | None:
        """The tenant, whatever its state."""
        ...

    async def insert(self, tenant: Tenant) -> Versioned[Tenant]:
        """Register a tenant; `AlreadyExists` if the id is taken."""
        ...

    async def replace(self, tenant: Tenant, etag: str) -> Versioned[Tenant]:
        """Replace the version named by `etag` (`*` for any); `VersionConflict` if it is not current."""
        ...

    async def list(self, limit: int, cursor: str | None) -> tuple[list[Versioned[Tenant]], str | None]:
        """At most `limit` tenants by id after `cursor`, and the cursor of the next page."""
        ...


class KeyDirectory(Protocol):
    """Gateway keys by tenant and key id. Raises `StorageUnavailable`."""

    async def get(self, tenant_id: str, key_id: str) -> GatewayKey | None:
        """The key, in force or not."""
        ...

    async def insert(self, key: GatewayKey) -> None:
        """Add a key."""
        ...

    async def replace(self, key: GatewayKey) -> None:
        """Overwrite a key that exists."""
        ...

    async def list(self, tenant_id: str) -> Sequence[GatewayKey]:
        """Every key of a tenant."""
        ...
