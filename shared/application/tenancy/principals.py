"""Callers whose credentials were verified."""

from __future__ import annotations

from typing import Final

from shared.domain.identity.access_token import AccessTokenClaims
from shared.domain.identity.role import OPERATOR_ROLES, Role
from shared.domain.tenancy.entra_principals import own_name
from shared.domain.tenancy.keys import GatewayKey
from shared.domain.tenancy.tenant import Tenant
from shared.domain.values import record, value


@record
class TenantPrincipal:
    """A caller that acts for one tenant and sees only its data."""

    tenant: Tenant
    key_id: str
    """Empty for the caller of a token."""
    user: str = ""
    """The person who signed in (`oid`); empty for keys, and for an application's own token."""
    application: str = ""
    """The application of the token (`azp` or `appid`); empty for keys."""
    role: Role
    key: GatewayKey | None = None
    """The caller's key, as it was stored at most 25 s ago; `None` for the caller of a token."""

    def covers(self, deployment: str) -> bool:
        """Tell whether the caller may see what its tenant did with a deployment. Only a key can forbid it."""
        return self.key is None or self.key.covers(deployment)


@value
class OperatorPrincipal:
    """A caller that acts for the gateway's operator, on all tenants. `actor` names it in the audit log."""

    actor: str
    roles: frozenset[Role]


@value
class TokenPrincipal:
    """The caller of a verified token, before it is known whether it acts for the operator or for a tenant."""

    claims: AccessTokenClaims

    @property
    def roles(self) -> frozenset[Role]:
        """The roles that it has over all tenants. A token may state names of other roles: they give nothing."""
        return OPERATOR_ROLES.intersection(self.claims.roles)

    @property
    def actor(self) -> str:
        """The name in the audit log."""
        name = own_name(self.claims)
        return f"{name.kind}:{name.id}@{name.directory_id}"

    def for_tenant(self, tenant: Tenant, role: Role) -> TenantPrincipal:
        """Return the caller as one that acts for a tenant."""
        claims = self.claims
        user = claims.object_id if claims.is_person else ""
        return TenantPrincipal(tenant=tenant, key_id="", user=user, application=claims.application_id, role=role)


ADMIN_KEY_PRINCIPAL: Final = OperatorPrincipal("admin-key", frozenset({Role.ADMIN}))
