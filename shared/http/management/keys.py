"""The management routes of a tenant's keys."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from shared.application.audit.record_audit import Actor
from shared.application.ports.tenancy import Versioned
from shared.application.tenancy.manage_keys import KnownKey
from shared.composition.gateway import Gateway
from shared.domain.tenancy.keys import GatewayKey
from shared.http.declared import etags_of
from shared.http.endpoint import for_managers, json_response, list_response
from shared.http.management.key_models import KeyChange, KeyCreation, KeyRotation
from shared.http.management.paths import MODEL_BYTES, key_id_of, tenant_id_of
from shared.http.requests import read_model


@for_managers
async def create_key(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`POST /manage/tenants/{tenant}/keys`: the only answer that ever shows the key."""
    wanted = await read_model(request, KeyCreation, MODEL_BYTES)
    key, credential = await gateway.tenancy.keys.create(tenant_id_of(request), wanted.apply, actor)
    return json_response({"key": credential, **_document(gateway, key)}, 201)


@for_managers
async def list_keys(gateway: Gateway, request: Request, _: Actor) -> Response:
    """`GET /manage/tenants/{tenant}/keys`."""
    keys = await gateway.tenancy.keys.list(tenant_id_of(request))
    damaged = [{"key_id": key_id, "state": "damaged"} for key_id in keys.damaged]
    return list_response([*(_known_document(each) for each in keys.known), *damaged])


@for_managers
async def get_key(gateway: Gateway, request: Request, _: Actor) -> Response:
    """`GET /manage/tenants/{tenant}/keys/{key}`."""
    return _known_response(await gateway.tenancy.keys.get(tenant_id_of(request), key_id_of(request)))


@for_managers
async def change_key(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`PATCH /manage/tenants/{tenant}/keys/{key}`, with `If-Match` to change no other version than the one read."""
    change = await read_model(request, KeyChange, MODEL_BYTES)
    tenant_id, key_id = tenant_id_of(request), key_id_of(request)
    return _known_response(await gateway.tenancy.keys.change(tenant_id, key_id, change.apply, etags_of(request), actor))


@for_managers
async def rotate_key(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`POST /manage/tenants/{tenant}/keys/{key}/rotate`: the only answer that ever shows the new key."""
    wanted = await read_model(request, KeyRotation, MODEL_BYTES)
    tenant_id, key_id = tenant_id_of(request), key_id_of(request)
    rotated = await gateway.tenancy.rotate_key(tenant_id, key_id, wanted.to_domain(), actor)
    old = _document(gateway, rotated.old)
    return json_response({"key": rotated.credential, **_document(gateway, rotated.new), "old_key": old}, 201)


@for_managers
async def revoke_key(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`DELETE /manage/tenants/{tenant}/keys/{key}`."""
    await gateway.tenancy.keys.revoke(tenant_id_of(request), key_id_of(request), actor)
    return Response(status_code=204)


def _known_response(found: Versioned[KnownKey]) -> Response:
    return json_response(_known_document(found.value), headers={"ETag": found.etag})


def _known_document(known: KnownKey) -> dict[str, object]:
    return {**_settings(known.key), "state": known.state, "last_used_at": known.last_used_at}


def _document(gateway: Gateway, key: GatewayKey) -> dict[str, object]:
    return {**_settings(key), "state": key.state(gateway.clock.now())}


def _settings(key: GatewayKey) -> dict[str, object]:
    """Render a key, without the hash of its secret."""
    return {
        "key_id": key.key_id,
        "label": key.label,
        "owner": key.owner,
        "created_by": key.created_by,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "scope": key.scope,
        "deployments": key.deployments,
        "address_ranges": key.address_ranges,
        "replaces": key.replaces,
        "replaced_by": key.replaced_by,
    }
