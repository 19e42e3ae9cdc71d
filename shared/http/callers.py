"""Find out who calls, and whether its role permits the operation."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from starlette.requests import Request

from shared.application.audit.record_audit import Actor
from shared.application.tenancy.authenticate import Authenticate, BearerCredential
from shared.application.tenancy.memberships import OTHER_TENANT, TENANT_HEADER
from shared.application.tenancy.principals import OperatorPrincipal, TenantPrincipal, TokenPrincipal
from shared.domain.errors import InsufficientRole
from shared.domain.identity.role import Role, Roles, permitting
from shared.http.declared import operation_of
from shared.http.management.paths import tenant_id_of
from shared.http.reported import note_tenant
from shared.http.requests import headers_of
from shared.http.source import source_of

_TENANT_HEADER: Final = TENANT_HEADER.encode()


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

    Raises `InvalidApiKey`, `InvalidToken`, `AddressNotAllowed`, `InsufficientRole`, and `InvalidRequest` for a token of
    several tenants.
    """
    source = partial(source_of, request, trusted_proxy_hops)
    caller = await authenticate.identify(credential_of(headers), source)
    wanted = headers.get(_TENANT_HEADER)
    if not isinstance(caller, TenantPrincipal):
        return await _tenant_of_token(authenticate, caller, request, wanted, source, roles)
    note_tenant(request, caller.tenant.tenant_id, caller.key_id)
    if caller.role not in roles:
        raise InsufficientRole
    if wanted and wanted != caller.tenant.tenant_id.encode():
        raise InsufficientRole(OTHER_TENANT)
    return caller


async def _tenant_of_token(
    authenticate: Authenticate,
    caller: TokenPrincipal | OperatorPrincipal,
    request: Request,
    wanted: bytes | None,
    source: Callable[[], str],
    roles: Roles,
) -> TenantPrincipal:
    if isinstance(caller, OperatorPrincipal):
        raise InsufficientRole
    named = (wanted or b"").decode("latin-1")
    member = await authenticate.member(caller, named, source, partial(note_tenant, request))
    return caller.for_tenant(member.tenant, permitting(roles, member.roles))


async def manager(authenticate: Authenticate, request: Request, request_id: str, trusted_proxy_hops: int) -> Actor:
    """Return a caller that acts on tenants or on the gateway, with a role of the operation.

    Raises `InvalidApiKey`, `InvalidToken`, `AddressNotAllowed`, and `InsufficientRole`.
    """
    source = partial(source_of, request, trusted_proxy_hops)
    caller = await authenticate.identify(credential_of(headers_of(request)), source)
    if isinstance(caller, TenantPrincipal):
        note_tenant(request, caller.tenant.tenant_id, caller.key_id)
        raise InsufficientRole
    role = await _managing_role(authenticate, caller, request, source)
    return Actor(name=caller.actor, source_address=source(), role=role, request_id=request_id)


async def _managing_role(
    authenticate: Authenticate,
    caller: TokenPrincipal | OperatorPrincipal,
    request: Request,
    source: Callable[[], str],
) -> Role:
    """Return the role by which a caller acts: one over all tenants, or one in the tenant that the path names."""
    roles = operation_of(request).roles
    if Role.TENANT_ADMIN not in roles or isinstance(caller, OperatorPrincipal) or caller.roles.intersection(roles):
        return permitting(roles, caller.roles)
    member = await authenticate.member(caller, tenant_id_of(request), source, partial(note_tenant, request))
    return permitting(roles, member.roles)
