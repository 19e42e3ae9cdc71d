"""Find out who calls, and whether its role permits the operation."""

from __future__ import annotations

from functools import partial

from starlette.requests import Request

from shared.application.audit.record_audit import Actor
from shared.application.tenancy.authenticate import Authenticate, BearerCredential
from shared.application.tenancy.principals import TenantPrincipal
from shared.domain.errors import InsufficientRole
from shared.domain.identity.role import Roles
from shared.http.declared import operation_of
from shared.http.reported import note_tenant
from shared.http.requests import headers_of
from shared.http.source import source_of


def credential_of(headers: dict[bytes, bytes]) -> str | None:
    """Return the credential in `api-key`, or in `Authorization: Bearer`; `None` if there is none."""
    key = headers.get(b"api-key")
    if key:
        return key.decode("latin-1")
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    return BearerCredential(token.strip().decode("latin-1")) if scheme.lower() == b"bearer" else None


async def tenant_principal(
    authenticate: Authenticate, request: Request, headers: dict[bytes, bytes], trusted_proxy_hops: int, roles: Roles
) -> TenantPrincipal:
    """Return a caller that acts for its tenant with one of the roles.

    Raises `InvalidApiKey`, `InvalidToken`, and `InsufficientRole`.
    """
    principal = await authenticate.identify(credential_of(headers), partial(source_of, request, trusted_proxy_hops))
    if not isinstance(principal, TenantPrincipal):
        raise InsufficientRole
    note_tenant(request, principal.tenant.tenant_id)
    if principal.role not in roles:
        raise InsufficientRole
    return principal


async def manager(authenticate: Authenticate, request: Request, request_id: str, trusted_proxy_hops: int) -> Actor:
    """Return a caller that acts on tenants or on the gateway, with a role of the operation.

    Raises `InvalidApiKey`, `InvalidToken`, and `InsufficientRole`.
    """
    source = partial(source_of, request, trusted_proxy_hops)
    principal = await authenticate.identify(credential_of(headers_of(request)), source)
    if isinstance(principal, TenantPrincipal):
        note_tenant(request, principal.tenant.tenant_id)
        raise InsufficientRole
    role = next((role for role in operation_of(request).roles if role in principal.roles), None)
    if role is None:
        raise InsufficientRole
    return Actor(name=principal.actor, source_address=source(), role=role, request_id=request_id)
