"""The roles that callers can have, and what each permits.

The rows of the table of operations name the permissions below. So does every check: what no row permits is refused.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from typing import Final, TypeAlias

from shared.domain.errors import InsufficientRole


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
    """Manages the keys and aliases of its own tenant, and reads its usage and entries."""
    TENANT_USE = "tenant.use"
    """Sends inference for its own tenant, and reads its usage and entries. Gateway keys have it."""
    TENANT_USAGE_READ = "tenant.usage.read"
    """Reads the usage of its own tenant. Gateway keys with that scope have it."""
    ANYONE = "anyone"
    """Nobody's role: it marks the operations that need no credential."""


OPERATOR_ROLES: Final = frozenset({Role.ADMIN, Role.BILLING_READ, Role.AUDIT_READ})
"""The roles over all tenants that a token can state."""

Roles: TypeAlias = tuple[Role, ...]
"""The roles that permit an operation. A caller needs one of them."""

INFERENCE: Final[Roles] = (Role.TENANT_USE, Role.USE)
OWN_DATA: Final[Roles] = (Role.TENANT_USE, Role.TENANT_ADMIN, Role.TENANT_USAGE_READ)
OWN_ENTRIES: Final[Roles] = (Role.TENANT_USE, Role.TENANT_ADMIN)
KEYS: Final[Roles] = (Role.ADMIN, Role.TENANT_ADMIN)
USERS: Final[Roles] = (Role.ADMIN, Role.TENANT_ADMIN)
ALERTS: Final[Roles] = (Role.ADMIN, Role.TENANT_ADMIN)
USAGE: Final[Roles] = (Role.ADMIN, Role.BILLING_READ, Role.TENANT_ADMIN)
ENTRIES: Final[Roles] = (Role.ADMIN, Role.BILLING_READ, Role.AUDIT_READ, Role.TENANT_ADMIN)
BILLING: Final[Roles] = (Role.ADMIN, Role.BILLING_READ)
AUDIT: Final[Roles] = (Role.ADMIN, Role.AUDIT_READ)
OPERATION: Final[Roles] = (Role.ADMIN, Role.AUDIT_READ, Role.BILLING_READ)
ADMINISTRATION: Final[Roles] = (Role.ADMIN,)
OPEN: Final[Roles] = (Role.ANYONE,)


def permitting(roles: Roles, held: Collection[Role]) -> Role:
    """Return the first role that permits an operation and that the caller has. Raises `InsufficientRole`."""
    for role in roles:
        if role in held:
            return role
    raise InsufficientRole
