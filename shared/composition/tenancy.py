"""Wire the use cases of tenants, keys and callers."""

from __future__ import annotations

from dataclasses import dataclass

from shared.application.sweep import Sweep
from shared.application.tenancy.admin_key import AdminKey
from shared.application.tenancy.apply_limit import ApplyLimit
from shared.application.tenancy.authenticate import Authenticate
from shared.application.tenancy.manage_keys import ManageKeys
from shared.application.tenancy.manage_tenants import ManageTenants
from shared.application.tenancy.reconcile_limits import ReconcileLimits
from shared.composition.adapters import Adapters


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenancy:
    """The use cases that authenticate callers, and manage tenants and their keys."""

    authenticate: Authenticate
    tenants: ManageTenants
    keys: ManageKeys
    reconcile_limits: ReconcileLimits


def wire_tenancy(adapters: Adapters, sweep: Sweep) -> Tenancy:
    """Make the use cases of tenancy. They share `authenticate`, which forgets a tenant that they change."""
    tenants, keys, clock = adapters.tenants, adapters.keys, adapters.clock
    admin_key = AdminKey(adapters.secrets, adapters.secret_names.admin)
    authenticate = Authenticate(tenants, keys, clock, admin_key, adapters.access_tokens)
    apply_limit = ApplyLimit(tenants, adapters.ledger, clock)
    return Tenancy(
        authenticate=authenticate,
        tenants=ManageTenants(
            tenants, adapters.catalog, adapters.ledger, apply_limit, authenticate, adapters.audit_outbox, clock
        ),
        keys=ManageKeys(tenants, keys, authenticate, clock),
        reconcile_limits=ReconcileLimits(tenants, apply_limit, clock, sweep),
    )
