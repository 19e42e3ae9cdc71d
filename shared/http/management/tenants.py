"""The management routes of tenants and grants."""

from __future__ import annotations

from dataclasses import replace

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from shared.application.audit.record_audit import Actor
from shared.application.ports.tenancy import Versioned
from shared.composition.gateway import Gateway
from shared.domain.damaged_row import DamagedRow
from shared.domain.errors import InvalidRequest
from shared.domain.identifiers import TENANT_ID
from shared.domain.ledger.amounts import Amount
from shared.domain.pricing.money import pusd_from_usd
from shared.domain.tenancy.grant import TenantGrant
from shared.domain.tenancy.tenant import Tenant
from shared.http.declared import etags_of
from shared.http.endpoint import for_managers, json_response, list_response
from shared.http.management.models import Grant, TenantChange, TenantRegistration
from shared.http.management.paths import MODEL_BYTES, tenant_id_of
from shared.http.requests import page_query, read_model
from shared.http.usage_report import usd_or_null

_tenant_json = TypeAdapter(Tenant)


@for_managers
async def register_tenant(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`POST /manage/tenants`."""
    registration = await read_model(request, TenantRegistration, MODEL_BYTES)
    tenant = registration.to_domain(gateway.clock.now())
    return _tenant_response(await gateway.tenancy.tenants.register(tenant, actor), 201)


@for_managers
async def list_tenants(gateway: Gateway, request: Request, _: Actor) -> Response:
    """`GET /manage/tenants?limit=&cursor=`."""
    limit, after = page_query(request)
    if after is not None and TENANT_ID.fullmatch(after) is None:
        raise InvalidRequest("'cursor' must be one that a list returned.", "cursor")
    page, cursor = await gateway.tenancy.tenants.list(limit, after)
    tenants = [_tenant_json.dump_python(tenant.value, mode="json") for tenant in page.tenants]
    damaged = [DamagedRow(f"tenants/{name}/tenant", "the tenant cannot be read") for name in page.damaged]
    return list_response(tenants, cursor, damaged)


@for_managers
async def get_tenant(gateway: Gateway, request: Request, _: Actor) -> Response:
    """`GET /manage/tenants/{tenant}`."""
    return _tenant_response(await gateway.tenancy.tenants.get(tenant_id_of(request)))


@for_managers
async def change_tenant(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`PATCH /manage/tenants/{tenant}`, with `If-Match` to change no other version than the one read."""
    change = await read_model(request, TenantChange, MODEL_BYTES)
    if "reason" in change.model_fields_set:
        actor = replace(actor, reason=change.reason)
    tenant = await gateway.tenancy.tenants.change(
        tenant_id_of(request), change.apply, etags_of(request), actor, reason=change.reason
    )
    return _tenant_response(tenant)


@for_managers
async def grant_to_tenant(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`POST /manage/tenants/{tenant}/grants`: tokens or dollars beyond a period's quota and budget."""
    grant = await read_model(request, Grant, MODEL_BYTES)
    granted = await gateway.tenancy.tenants.grant(
        tenant_id_of(request),
        Amount(grant.tokens, pusd_from_usd(grant.usd)),
        actor,
        reason=grant.reason,
        period=grant.period,
        grant_id=grant.grant_id,
    )
    return json_response(_grant_document(granted), 201)


@for_managers
async def suspend_tenant(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`POST /manage/tenants/{tenant}/suspend`."""
    return _tenant_response(await gateway.tenancy.tenants.suspend(tenant_id_of(request), etags_of(request), actor))


@for_managers
async def resume_tenant(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`POST /manage/tenants/{tenant}/resume`."""
    return _tenant_response(await gateway.tenancy.tenants.resume(tenant_id_of(request), etags_of(request), actor))


@for_managers
async def close_tenant(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`DELETE /manage/tenants/{tenant}`: closes it and keeps its records."""
    return _tenant_response(await gateway.tenancy.tenants.close(tenant_id_of(request), etags_of(request), actor))


def _grant_document(granted: TenantGrant) -> dict[str, object]:
    return {
        "grant_id": granted.grant_id,
        "period": granted.period,
        "quota_tokens": granted.limit.tokens,
        "budget_usd": usd_or_null(granted.limit.pusd),
    }


def _tenant_response(tenant: Versioned[Tenant], status: int = 200) -> Response:
    return json_response(_tenant_json.dump_python(tenant.value, mode="json"), status, {"ETag": tenant.etag})
