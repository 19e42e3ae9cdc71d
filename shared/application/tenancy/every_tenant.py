"""List all tenants, page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator

from shared.application.ports.tenancy import TenantDirectory
from shared.domain.errors import TenantsDamaged
from shared.domain.tenancy.tenant import Tenant

PAGE_SIZE = 500


async def every_tenant(tenants: TenantDirectory, page_size: int = PAGE_SIZE) -> AsyncIterator[Tenant]:
    """Yield every tenant, in any state, in the order of ids. Raises `StorageUnavailable`.

    Raises `TenantsDamaged` at the end for those whose documents cannot be read, so that one hides no other.
    """
    damaged: list[str] = []
    cursor: str | None = None
    while True:
        page, cursor = await tenants.list_readable(page_size, cursor)
        damaged += page.damaged
        for versioned in page.tenants:
            yield versioned.value
        if cursor is None:
            break
    if damaged:
        raise TenantsDamaged(damaged)


def tenant_name(tenant: Tenant) -> str:
    """Return the name of a tenant in the report of a sweep."""
    return tenant.tenant_id
