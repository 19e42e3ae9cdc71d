"""`/me`: a tenant's view of itself, by its own key."""

from __future__ import annotations

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from shared.application.tenancy.principals import TenantPrincipal
from shared.composition.gateway import Gateway
from shared.domain.errors import InsufficientRole
from shared.domain.tenancy.tenant import Tenant
from shared.http.endpoint import for_tenants, json_response
from shared.http.management.alerts import alerts_response
from shared.http.management.usage import entries_response, proof_response
from shared.http.requests import path_segment
from shared.http.usage_report import usage_response

_RID_SEGMENT = 2
_tenant_json = TypeAdapter(Tenant)
_ADMINISTRATORS_ONLY = {"contact", "tags", "entra_principals", "address_ranges"}


@for_tenants
async def me(_gateway: Gateway, _request: Request, principal: TenantPrincipal) -> Response:
    """`GET /me`: the tenant of the key, without what only administrators see."""
    shown = _tenant_json.dump_python(principal.tenant, mode="json", exclude=_ADMINISTRATORS_ONLY)
    return json_response(shown | {"key_id": principal.key_id})


@for_tenants
async def my_usage(gateway: Gateway, request: Request, principal: TenantPrincipal) -> Response:
    """`GET /me/usage?period=YYYY-MM&group_by=deployment,user,application,day`."""
    return await usage_response(gateway, request, principal.tenant.tenant_id)


@for_tenants
async def my_entries(gateway: Gateway, request: Request, principal: TenantPrincipal) -> Response:
    """`GET /me/entries?period=&from=&to=&user=&application=&limit=&cursor=`, newest first."""
    return await entries_response(gateway, request, _whole_tenant(principal))


@for_tenants
async def my_entry_proof(gateway: Gateway, request: Request, principal: TenantPrincipal) -> Response:
    """`GET /me/entries/{rid}/proof?period=&seq=`."""
    rid = path_segment(request, _RID_SEGMENT)
    return await proof_response(gateway, request, _whole_tenant(principal), rid)


@for_tenants
async def my_alerts(gateway: Gateway, request: Request, principal: TenantPrincipal) -> Response:
    """`GET /me/alerts?limit=`, newest first."""
    return await alerts_response(gateway, request, _whole_tenant(principal))


def _whole_tenant(principal: TenantPrincipal) -> str:
    """Return the tenant, if the caller may see what it did with all deployments. Raises `InsufficientRole`.

    A proof shows the entries that follow one, so a part of the entries cannot be proved alone.
    """
    if principal.key is not None and principal.key.deployments is not None:
        raise InsufficientRole("Its key is for some deployments only, and entries are those of the whole tenant.")
    return principal.tenant.tenant_id
