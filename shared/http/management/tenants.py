"""The management routes of tenants, for administrators, and `/me` for tenants."""

from __future__ import annotations

import re
from dataclasses import asdict

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from shared.application.audit.record_audit import Actor
from shared.application.billing.report_usage import EntryCursor, EntryFilter
from shared.application.ports.tenancy import Versioned
from shared.application.tenancy.authenticate import TenantPrincipal
from shared.composition.gateway import Gateway
from shared.domain.errors import InvalidRequest
from shared.domain.identifiers import BillingPeriod, checked_tenant_id
from shared.domain.ledger.amounts import Amount
from shared.domain.ledger.balance import Lane
from shared.domain.ledger.entries import LedgerEntry
from shared.domain.pricing.money import pusd_from_usd, usd
from shared.domain.tenancy.keys import GatewayKey
from shared.domain.tenancy.tenant import Tenant
from shared.http.endpoint import for_administrators, for_tenants, json_response, list_response
from shared.http.management.models import Grant, KeyCreation, TenantChange, TenantRegistration
from shared.http.requests import page_query, path_segment, read_model

_NAME_SEGMENT = 2
_KEY_SEGMENT = 4
_MODEL_BYTES = 1024 * 1024
_ENTRY_CURSOR = re.compile(r"\d+:\d+(,\d+:\d+)*", re.ASCII)
_tenant_json = TypeAdapter(Tenant)


@for_administrators
async def register_tenant(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`POST /manage/tenants`."""
    stated = (await read_model(request, TenantRegistration, _MODEL_BYTES)).stated()
    tenant = Tenant(**{"name": stated["tenant_id"], "created_at": gateway.clock.now(), **stated})
    return _tenant_response(await gateway.tenancy.tenants.register(tenant, actor), 201)


@for_administrators
async def list_tenants(gateway: Gateway, request: Request, _: Actor) -> Response:
    """`GET /manage/tenants?limit=&cursor=`."""
    page, cursor = await gateway.tenancy.tenants.list(*page_query(request))
    return list_response([_tenant_json.dump_python(tenant.value, mode="json") for tenant in page], cursor)


@for_administrators
async def get_tenant(gateway: Gateway, request: Request, _: Actor) -> Response:
    """`GET /manage/tenants/{tenant}`."""
    return _tenant_response(await gateway.tenancy.tenants.get(_tenant_id(request)))


@for_administrators
async def change_tenant(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`PATCH /manage/tenants/{tenant}`, with `If-Match` to change no other version than the one read."""
    change = await read_model(request, TenantChange, _MODEL_BYTES)
    etag = request.headers.get("if-match", "*")
    tenant = await gateway.tenancy.tenants.change(
        _tenant_id(request), change.stated(), etag, actor, reason=change.reason
    )
    return _tenant_response(tenant)


@for_administrators
async def grant_to_tenant(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`POST /manage/tenants/{tenant}/grants`: tokens or dollars beyond a period's quota and budget."""
    grant = await read_model(request, Grant, _MODEL_BYTES)
    amount = Amount(grant.tokens, pusd_from_usd(grant.usd))
    period, grant_id, balance = await gateway.tenancy.tenants.grant(
        _tenant_id(request), grant.period, grant.grant_id, amount, grant.reason, actor
    )
    limit = {"quota_tokens": balance.limit.tokens, "budget_usd": _usd(balance.limit.pusd)}
    return json_response({"grant_id": grant_id, "period": period, **limit}, 201)


@for_administrators
async def suspend_tenant(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`POST /manage/tenants/{tenant}/suspend`."""
    return _tenant_response(await gateway.tenancy.tenants.suspend(_tenant_id(request), actor))


@for_administrators
async def resume_tenant(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`POST /manage/tenants/{tenant}/resume`."""
    return _tenant_response(await gateway.tenancy.tenants.resume(_tenant_id(request), actor))


@for_administrators
async def close_tenant(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`DELETE /manage/tenants/{tenant}`: closes it and keeps its records."""
    return _tenant_response(await gateway.tenancy.tenants.close(_tenant_id(request), actor))


@for_administrators
async def create_key(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`POST /manage/tenants/{tenant}/keys`: the only answer that ever shows the key."""
    wanted = await read_model(request, KeyCreation, _MODEL_BYTES)
    key, credential = await gateway.tenancy.keys.create(_tenant_id(request), wanted.expires_at, actor)
    shown = {"key_id": key.key_id, "key": credential, "created_at": key.created_at, "expires_at": key.expires_at}
    return json_response(shown, 201)


@for_administrators
async def list_keys(gateway: Gateway, request: Request, _: Actor) -> Response:
    """`GET /manage/tenants/{tenant}/keys`."""
    return list_response([_key_document(key) for key in await gateway.tenancy.keys.list(_tenant_id(request))])


@for_administrators
async def revoke_key(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`DELETE /manage/tenants/{tenant}/keys/{key}`."""
    await gateway.tenancy.keys.revoke(_tenant_id(request), path_segment(request, _KEY_SEGMENT), actor)
    return Response(status_code=204)


@for_administrators
async def tenant_usage(gateway: Gateway, request: Request, _: Actor) -> Response:
    """`GET /manage/tenants/{tenant}/usage?period=YYYY-MM&group_by=deployment,user,day`."""
    return await _usage(gateway, request, _tenant_id(request))


@for_administrators
async def tenant_entries(gateway: Gateway, request: Request, _: Actor) -> Response:
    """`GET /manage/tenants/{tenant}/entries?period=&from=&to=&user=&limit=&cursor=`, newest first."""
    limit, cursor = page_query(request)
    query = request.query_params
    chosen = EntryFilter(query.get("from") or "", query.get("to") or "~", query.get("user"))
    found, after = await gateway.billing.usage.entries(
        _tenant_id(request), _period(gateway, request), chosen, _entry_cursor(cursor), limit
    )
    next_cursor = None if after is None else ",".join(f"{lane}:{seq}" for lane, seq in after.items())
    return list_response([_entry_document(lane, entry) for lane, entry in found], next_cursor)


@for_tenants
async def me(_gateway: Gateway, _request: Request, principal: TenantPrincipal) -> Response:
    """`GET /me`: what a tenant's own key may see of its tenant."""
    shown = _tenant_json.dump_python(principal.tenant, mode="json", exclude={"contact", "tags"})
    return json_response(shown | {"key_id": principal.key_id})


@for_tenants
async def my_usage(gateway: Gateway, request: Request, principal: TenantPrincipal) -> Response:
    """`GET /me/usage?period=YYYY-MM&group_by=deployment,user,day`."""
    return await _usage(gateway, request, principal.tenant.tenant_id)


async def _usage(gateway: Gateway, request: Request, tenant_id: str) -> Response:
    groups = [group for group in request.query_params.get("group_by", "").split(",") if group]
    return json_response(await gateway.billing.usage.usage(tenant_id, _period(gateway, request), groups))


def _tenant_id(request: Request) -> str:
    return checked_tenant_id(path_segment(request, _NAME_SEGMENT))


def _period(gateway: Gateway, request: Request) -> str:
    text = request.query_params.get("period")
    return str(BillingPeriod.parse(text) if text else BillingPeriod.containing(gateway.clock.now()))


def _tenant_response(tenant: Versioned[Tenant], status: int = 200) -> Response:
    return json_response(_tenant_json.dump_python(tenant.value, mode="json"), status, {"ETag": tenant.etag})


def _key_document(key: GatewayKey) -> dict[str, object]:
    return {
        "key_id": key.key_id,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
    }


def _usd(limit: int | None) -> str | None:
    return None if limit is None else usd(limit)


def _entry_cursor(text: str | None) -> EntryCursor | None:
    """`{lane}:{seq},...`, as a list returned it."""
    if text is None:
        return None
    if _ENTRY_CURSOR.fullmatch(text) is None:
        raise InvalidRequest("'cursor' must be one that a list returned.", "cursor")
    return {int(lane): int(seq) for lane, _, seq in (part.partition(":") for part in text.split(","))}


def _entry_document(lane: Lane, entry: LedgerEntry) -> dict[str, object]:
    """One entry. Facts of an attempt are there only where the entry is of one."""
    document: dict[str, object] = {
        "lane": lane.number,
        "seq": entry.seq,
        "kind": entry.kind,
        "timestamp": entry.timestamp,
        "tokens": entry.amount.tokens,
        "cost_usd": usd(entry.amount.pusd),
        "reserved_tokens": entry.reserved.tokens,
        "reserved_usd": usd(entry.reserved.pusd),
        "hash": entry.hash,
    }
    if entry.attempt is not None and entry.outcome is not None:
        outcome, usage = entry.outcome, entry.outcome.usage
        document |= {"rid": entry.rid, **asdict(entry.attempt)}
        document |= {
            "usage": {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens, **asdict(usage)},
            "status": outcome.status,
            "error_code": outcome.error_code,
            "latency_ms": outcome.latency_ms,
            "estimated": outcome.estimated,
            "content_filter": outcome.content_filter,
            "service_tier": outcome.service_tier,
            "superseded": outcome.superseded,
        }
    if entry.limit is not None:
        document |= {"quota_tokens": entry.limit.tokens, "budget_usd": _usd(entry.limit.pusd)}
        document |= {"actor": entry.actor, "reason": entry.reason}
    if entry.transferred is not None:
        document |= {"moved_tokens": entry.transferred.tokens, "moved_usd": usd(entry.transferred.pusd)}
    if entry.reference:
        document["reference"] = entry.reference
    return document
