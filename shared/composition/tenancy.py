"""Wire the use cases of tenants, keys and callers."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from shared.application.audit.record_audit import RecordAudit
from shared.application.sweep import Sweep
from shared.application.tenancy.admin_key import AdminKey
from shared.application.tenancy.apply_limit import ApplyLimit
from shared.application.tenancy.authenticate import Authenticate
from shared.application.tenancy.describe_tenants import DescribeTenants
from shared.application.tenancy.grant_quota import FinishGrants, GrantQuota
from shared.application.tenancy.index_principals import IndexPrincipals, ReconcilePrincipals
from shared.application.tenancy.manage_keys import ManageKeys
from shared.application.tenancy.manage_pseudonyms import ManagePseudonyms
from shared.application.tenancy.manage_tenants import ManageTenants
from shared.application.tenancy.memberships import Memberships
from shared.application.tenancy.note_key_use import NoteKeyUse
from shared.application.tenancy.privacy_keys import PrivacyKeys
from shared.application.tenancy.pseudonymise_users import PseudonymiseUsers
from shared.application.tenancy.reconcile_limits import ReconcileLimits
from shared.application.tenancy.rotate_key import RotateKey
from shared.application.tenancy.watch_expiry import WatchExpiry
from shared.application.tenancy.watch_keys import WatchKeys
from shared.composition.adapters import Adapters
from shared.composition.alerts import Alerts

logger = logging.getLogger("tallygate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenancy:
    """The use cases that authenticate callers, and manage tenants and their keys."""

    authenticate: Authenticate
    tenants: ManageTenants
    describe_tenants: DescribeTenants
    finish_grants: FinishGrants
    keys: ManageKeys
    rotate_key: RotateKey
    privacy_keys: PrivacyKeys
    users: PseudonymiseUsers
    pseudonyms: ManagePseudonyms
    reconcile_limits: ReconcileLimits
    reconcile_principals: ReconcilePrincipals
    watch_expiry: WatchExpiry


def _admin_key_name(adapters: Adapters) -> str:
    """Return the name of the management key; empty if there is none, or if it is switched off."""
    name = adapters.secret_names.admin if adapters.settings.admin_api_key_enabled else ""
    if not name and adapters.access_tokens is None:
        logger.warning("Nobody can manage this gateway: it has neither an admin key that is enabled nor Entra ID.")
    return name


def wire_tenancy(adapters: Adapters, sweep: Sweep, alerts: Alerts) -> Tenancy:
    """Make the use cases of tenancy. They share `authenticate`, which forgets a tenant that they change."""
    tenants, keys, clock = adapters.tenants, adapters.keys, adapters.clock
    admin_key = AdminKey(adapters.secrets, _admin_key_name(adapters))
    watch = WatchKeys(NoteKeyUse(adapters.key_uses, clock, adapters.background), alerts.raise_alert)
    memberships = Memberships(tenants, adapters.principals, clock)
    privacy_keys = PrivacyKeys(adapters.secrets, adapters.secret_names.privacy)
    users = PseudonymiseUsers(adapters.pseudonyms, privacy_keys, clock)
    authenticate = Authenticate(tenants, keys, clock, admin_key, watch, adapters.access_tokens, memberships, users)
    index = IndexPrincipals(adapters.principals, memberships)
    manage_keys = ManageKeys(tenants, keys, adapters.key_uses, authenticate, clock)
    apply_limit = ApplyLimit(tenants, adapters.ledger, clock)
    grant_quota = GrantQuota(adapters.grant_requests, adapters.ledger, clock)
    return Tenancy(
        authenticate=authenticate,
        tenants=ManageTenants(
            tenants,
            adapters.catalog,
            grant_quota,
            apply_limit,
            authenticate,
            index,
            privacy_keys,
            clock,
        ),
        describe_tenants=DescribeTenants(tenants, adapters.telemetry.flush),
        finish_grants=FinishGrants(adapters.grant_requests, tenants, grant_quota, clock),
        keys=manage_keys,
        rotate_key=RotateKey(keys, manage_keys, authenticate, clock),
        privacy_keys=privacy_keys,
        users=users,
        pseudonyms=ManagePseudonyms(
            adapters.pseudonyms, tenants, privacy_keys, users, RecordAudit(adapters.audit_outbox, clock), clock
        ),
        reconcile_limits=ReconcileLimits(tenants, apply_limit, clock, sweep),
        reconcile_principals=ReconcilePrincipals(tenants, adapters.principals, sweep),
        watch_expiry=WatchExpiry(tenants, keys, alerts.raise_once, clock, sweep),
    )
