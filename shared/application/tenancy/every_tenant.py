"""List all tenants, page by page."""

from __future__ import annotations

from collections.abc import AsyncIterator

from shared.application.ports.tenancy import TenantDirectory
from shared.domain.tenancy.tenant import Tenant

PAGE_SIZE = 500


async def every_tenant(tenants: TenantDirectory, page_size: int = PAGE_SIZE) -> AsyncIterator[Tenant]:
    """Yield every tenant, in any state, in the order of ids. Raises `StorageUnavailable`."""
    cursor: str | None = None
    while True:
        page, cursor = await tenants.list(page_size, cursor)
        for versioned in page:
            yield versioned.value
        if cursor is None:
            return


def tenant_name(tenant: Tenant) -> str:
    """Return the name of a tenant in the report of a sweep."""
    return tenant.tenant_id
