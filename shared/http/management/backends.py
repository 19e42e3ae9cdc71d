"""The management routes of backends, and of the choice between them."""

from __future__ import annotations

from datetime import timedelta

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from shared.application.audit.record_audit import Actor
from shared.application.routing.explain_route import ConsideredBackend
from shared.composition.gateway import Gateway
from shared.definitions import BackendDefinition
from shared.domain.identifiers import checked_name, timestamp
from shared.domain.routing.catalog import Backend
from shared.http.endpoint import for_managers, json_response, list_response
from shared.http.management.models import RouteQuestion
from shared.http.management.paths import MODEL_BYTES, name_of
from shared.http.requests import read_model

_backend_json = TypeAdapter(Backend)


@for_managers
async def put_backend(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`PUT /manage/backends/{backend}`."""
    backend_id = checked_name(name_of(request), "backend")
    definition = await read_model(request, BackendDefinition, MODEL_BYTES)
    backend = await gateway.routing.catalog.put_backend(definition.to_domain(backend_id), actor)
    return json_response(_backend_document(gateway, backend))


@for_managers
async def get_backend(gateway: Gateway, request: Request, _: Actor) -> Response:
    """`GET /manage/backends/{backend}`."""
    backend = await gateway.routing.catalog.backend(name_of(request))
    return json_response(_backend_document(gateway, backend))


@for_managers
async def list_backends(gateway: Gateway, _request: Request, _: Actor) -> Response:
    """`GET /manage/backends`, with their health as the process sees it that answers."""
    catalog = await gateway.routing.catalog.load()
    backends = [_backend_document(gateway, backend) for backend in catalog.backends.values()]
    return list_response(backends, damaged=catalog.damaged_of("backend"))


@for_managers
async def remove_backend(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`DELETE /manage/backends/{backend}`."""
    await gateway.routing.catalog.remove_backend(name_of(request), actor)
    return Response(status_code=204)


@for_managers
async def explain_route(gateway: Gateway, request: Request, _: Actor) -> Response:
    """`POST /manage/route`: the backend that would serve a request, and why each other would not."""
    asked = await read_model(request, RouteQuestion, MODEL_BYTES)
    explained = await gateway.routing.explain(asked.tenant_id, asked.deployment, asked.tokens)
    considered = [_considered_document(each) for each in explained.considered]
    return json_response({"outcome": explained.outcome, "backends": considered})


def _considered_document(considered: ConsideredBackend) -> dict[str, object]:
    backend = considered.backend
    return {
        "backend": backend.backend_id,
        "region": backend.region,
        "processed_in": backend.processed_in,
        "fallback": considered.fallback_index,
        "priority": backend.priority,
        "is_provisioned": backend.is_provisioned,
        "weight": backend.weight,
        "is_chosen": considered.is_chosen,
        "reason": considered.reason,
    }


def _backend_document(gateway: Gateway, backend: Backend) -> dict[str, object]:
    document: dict[str, object] = _backend_json.dump_python(backend, mode="json")
    health = gateway.routing.dispatcher.health(backend)
    now, wall = gateway.clock.monotonic(), gateway.clock.now()
    recent_requests, recent_failures = health.recent(now)

    def moment(at: float | None) -> str | None:
        return None if at is None else timestamp(wall + timedelta(seconds=at - now))

    document["health"] = {
        "instance": gateway.settings.website_instance_id,
        "state": health.state(now),
        "reason": health.reason or None,
        "open_until": moment(health.open_until),
        "is_misconfigured": health.is_misconfigured,
        "is_hinted": health.is_hinted,
        "in_flight": health.in_flight,
        "requests": health.requests,
        "failures": health.failures,
        "recent_requests": recent_requests,
        "recent_failures": recent_failures,
        "latency_ms": None if health.latency_seconds is None else round(1000 * health.latency_seconds),
        "remaining_requests": health.remaining_requests,
        "remaining_tokens": health.remaining_tokens,
        "last_error": health.last_error or None,
        "last_error_at": moment(health.last_error_at),
    }
    return document
