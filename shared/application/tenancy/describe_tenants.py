"""Write the cost center of each tenant into the log, where dashboards join it with figures by tenant."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from shared.application.ports.tenancy import TenantDirectory
from shared.application.structured_log import TENANT, log_event
from shared.application.tenancy.every_tenant import every_tenant

COST_CENTER: Final = "gateway.cost_center"
_LINES_AT_ONCE: Final = 500
"""The lines that are written before they are exported. Exporters keep no more than some 2,000, and drop the rest."""


class DescribeTenants:
    """The use case of the timer `describe_tenants`.

    The cost center is no dimension of metrics: a change of it would begin new series for the same tenant.
    """

    def __init__(self, tenants: TenantDirectory, export_lines: Callable[[], Awaitable[None]]) -> None:
        """`export_lines` hands out the log lines of this process, in a few seconds at most, and never raises."""
        self._tenants = tenants
        self._export_lines = export_lines

    async def __call__(self) -> int:
        """Write one line a tenant, in any state. Returns the number of lines.

        Raises `StorageUnavailable`, and `TenantsDamaged` once all others are described.
        """
        described = 0
        async for tenant in every_tenant(self._tenants):
            fields = {TENANT: tenant.tenant_id, COST_CENTER: tenant.cost_center}
            log_event(logging.INFO, "gateway.tenant.described", fields)
            described += 1
            if described % _LINES_AT_ONCE == 0:
                await self._export_lines()
        return described
