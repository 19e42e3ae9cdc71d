"""The management routes of a tenant's users: requests of persons about their data."""

from __future__ import annotations

from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from shared.application.audit.record_audit import Actor
from shared.composition.gateway import Gateway
from shared.http.endpoint import for_managers, json_response
from shared.http.management.paths import MODEL_BYTES, tenant_id_of
from shared.http.management.user_models import NamedUser, UserErasure
from shared.http.requests import read_model


@for_managers
async def look_up_user(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`POST /manage/tenants/{tenant}/users/lookup`: the user is in the body, so that no log of addresses names it."""
    named = await read_model(request, NamedUser, MODEL_BYTES)
    aliases = await gateway.tenancy.pseudonyms.look_up(tenant_id_of(request), named.user, actor)
    return json_response({"alias": aliases[0], "aliases": aliases})


@for_managers
async def erase_user(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`POST /manage/tenants/{tenant}/users/erase`."""
    erasure = await read_model(request, UserErasure, MODEL_BYTES)
    actor = replace(actor, reason=erasure.reason)
    await gateway.tenancy.pseudonyms.erase(tenant_id_of(request), erasure.user, actor)
    return Response(status_code=204)
