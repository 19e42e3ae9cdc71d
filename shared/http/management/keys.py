"""The management routes of a tenant's keys."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from shared.application.audit.record_audit import Actor
from shared.composition.gateway import Gateway
from shared.domain.tenancy.keys import GatewayKey
from shared.http.endpoint import for_managers, json_response, list_response
from shared.http.management.models import KeyCreation
from shared.http.management.paths import MODEL_BYTES, key_id_of, tenant_id_of
from shared.http.requests import read_model


@for_managers
async def create_key(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`POST /manage/tenants/{tenant}/keys`: the only answer that ever shows the key."""
    wanted = await read_model(request, KeyCreation, MODEL_BYTES)
    key, credential = await gateway.tenancy.keys.create(tenant_id_of(request), wanted.expires_at, actor)
    shown = {"key_id": key.key_id, "key": credential, "created_at": key.created_at, "expires_at": key.expires_at}
    return json_response(shown, 201)


@for_managers
async def list_keys(gateway: Gateway, request: Request, _: Actor) -> Response:
    """`GET /manage/tenants/{tenant}/keys`."""
    return list_response([_key_document(key) for key in await gateway.tenancy.keys.list(tenant_id_of(request))])


@for_managers
async def revoke_key(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`DELETE /manage/tenants/{tenant}/keys/{key}`."""
    await gateway.tenancy.keys.revoke(tenant_id_of(request), key_id_of(request), actor)
    return Response(status_code=204)


def _key_document(key: GatewayKey) -> dict[str, object]:
    return {
        "key_id": key.key_id,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
    }
