"""The roles that callers can have."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """A role of a caller. Those of the gateway come from tokens, those of a tenant from its keys and its document."""

    ADMIN = "Gateway.Admin"
    """Manages everything. The bootstrap admin key has it, too."""
    BILLING_READ = "Gateway.Billing.Read"
    """Reads usage, entries, prices, periods and statements of all tenants."""
    AUDIT_READ = "Gateway.Audit.Read"
    """Reads entries and the audit log of all tenants."""
    USE = "Gateway.Use"
    """Sends inference for a tenant whose document names the caller."""
    TENANT_ADMIN = "tenant.admin"
    """Manages the keys of its own tenant, and reads its usage and entries."""
    TENANT_USE = "tenant.use"
    """Sends inference for its own tenant, and reads its usage. Gateway keys have it."""
    TENANT_USAGE_READ = "tenant.usage.read"
    """Reads the usage of its own tenant. Gateway keys with that scope have it."""
