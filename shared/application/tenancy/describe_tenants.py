"""Write the cost center of each tenant into the log, where dashboards join it with figures by tenant."""

from __future__ import annotations

import logging
from typing import Final

from shared.application.ports.tenancy import TenantDirectory
from shared.application.structured_log import TENANT, log_event
from shared.application.tenancy.every_tenant import every_tenant

COST_CENTER: Final = "gateway.cost_center"


class DescribeTenants:
    """The use case of the timer `describe_tenants`.

    The cost center is no dimension of metrics: a change of it would begin new series for the same tenant.
    """

    def __init__(self, tenants: TenantDirectory) -> None:
        self._tenants = tenants

    async def __call__(self) -> int:
        """Write one line a tenant, in any state. Returns the number of lines.

        Raises `StorageUnavailable`, and `TenantsDamaged` once all others are described.
        """
        described = 0
        async for tenant in every_tenant(self._tenants):
            fields = {TENANT: tenant.tenant_id, COST_CENTER: tenant.cost_center}
            log_event(logging.INFO, "gateway.tenant.described", fields)
            described += 1
        return described
