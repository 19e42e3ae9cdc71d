"""The management routes of backends, deployments and prices, and of what becomes of a request."""

from __future__ import annotations

from datetime import timedelta

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from shared.application.audit.record_audit import Actor
from shared.composition.gateway import Gateway
from shared.domain.identifiers import checked_name, timestamp
from shared.domain.pricing.price_book import Price
from shared.domain.routing.catalog import Backend, Deployment
from shared.http.endpoint import for_administrators, json_response, list_response
from shared.http.management.models import BackendDefinition, DeploymentDefinition, PriceInsertion, RouteQuestion
from shared.http.requests import path_segment, read_model

_NAME_SEGMENT = 2
_MODEL_BYTES = 1024 * 1024
_backend_json = TypeAdapter(Backend)
_deployment_json = TypeAdapter(Deployment)
_price_json = TypeAdapter(Price)


@for_administrators
async def put_backend(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`PUT /manage/backends/{backend}`."""
    backend_id = checked_name(path_segment(request, _NAME_SEGMENT), "backend")
    definition = await read_model(request, BackendDefinition, _MODEL_BYTES)
    backend = await gateway.routing.catalog.put_backend(
        Backend(backend_id=backend_id, **definition.model_dump()), actor
    )
    return json_response(_backend_document(gateway, backend))


@for_administrators
async def get_backend(gateway: Gateway, request: Request, _: Actor) -> Response:
    """`GET /manage/backends/{backend}`."""
    backend = await gateway.routing.catalog.backend(path_segment(request, _NAME_SEGMENT))
    return json_response(_backend_document(gateway, backend))


@for_administrators
async def list_backends(gateway: Gateway, _request: Request, _: Actor) -> Response:
    """`GET /manage/backends`, with their health as the process sees it that answers."""
    backends = (await gateway.routing.catalog.load()).backends.values()
    return list_response([_backend_document(gateway, backend) for backend in backends])


@for_administrators
async def remove_backend(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`DELETE /manage/backends/{backend}`."""
    await gateway.routing.catalog.remove_backend(path_segment(request, _NAME_SEGMENT), actor)
    return Response(status_code=204)


@for_administrators
async def put_deployment(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`PUT /manage/deployments/{deployment}`."""
    name = checked_name(path_segment(request, _NAME_SEGMENT), "deployment")
    fields = (await read_model(request, DeploymentDefinition, _MODEL_BYTES)).model_dump()
    deployment = Deployment(
        name=name, **{**fields, **{each: tuple(fields[each]) for each in ("backends", "fallbacks")}}
    )
    await gateway.routing.catalog.put_deployment(deployment, actor)
    return json_response(_deployment_json.dump_python(deployment, mode="json"))


@for_administrators
async def get_deployment(gateway: Gateway, request: Request, _: Actor) -> Response:
    """`GET /manage/deployments/{deployment}`."""
    deployment = await gateway.routing.catalog.deployment(path_segment(request, _NAME_SEGMENT))
    return json_response(_deployment_json.dump_python(deployment, mode="json"))


@for_administrators
async def list_deployments(gateway: Gateway, _request: Request, _: Actor) -> Response:
    """`GET /manage/deployments`."""
    deployments = (await gateway.routing.catalog.load()).deployments.values()
    return list_response([_deployment_json.dump_python(deployment, mode="json") for deployment in deployments])


@for_administrators
async def explain_route(gateway: Gateway, request: Request, _: Actor) -> Response:
    """`POST /manage/route`: which backend would serve a request, and why each other would not."""
    asked = await read_model(request, RouteQuestion, _MODEL_BYTES)
    explained = await gateway.routing.explain(asked.tenant_id, asked.deployment, asked.tokens)
    considered = [
        {
            "backend": each.backend.backend_id,
            "region": each.backend.region,
            "processed_in": each.backend.processed_in,
            "fallback": each.fallback_index,
            "priority": each.backend.priority,
            "is_provisioned": each.backend.is_provisioned,
            "weight": each.backend.weight,
            "is_chosen": each.is_chosen,
            "reason": each.reason,
        }
        for each in explained.considered
    ]
    return json_response({"outcome": explained.outcome, "backends": considered})


@for_administrators
async def insert_price(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`POST /manage/prices`."""
    row = await read_model(request, PriceInsertion, _MODEL_BYTES)
    price = await gateway.pricing.prices.insert(Price(**row.model_dump()), actor)
    return json_response(_price_document(price), 201)


@for_administrators
async def list_prices(gateway: Gateway, _request: Request, _: Actor) -> Response:
    """`GET /manage/prices`."""
    return list_response([_price_document(price) for price in await gateway.pricing.prices.list()])


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


def _price_document(price: Price) -> dict[str, object]:
    return {"price_id": price.price_id, **_price_json.dump_python(price, mode="json")}
