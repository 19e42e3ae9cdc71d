"""The management routes of deployments."""

from __future__ import annotations

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from shared.application.audit.record_audit import Actor
from shared.composition.gateway import Gateway
from shared.definitions import DeploymentDefinition
from shared.domain.identifiers import checked_name
from shared.domain.routing.catalog import Deployment
from shared.http.endpoint import for_managers, json_response, list_response
from shared.http.management.paths import MODEL_BYTES, name_of
from shared.http.requests import read_model

_deployment_json = TypeAdapter(Deployment)


@for_managers
async def put_deployment(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`PUT /manage/deployments/{deployment}`."""
    name = checked_name(name_of(request), "deployment")
    deployment = (await read_model(request, DeploymentDefinition, MODEL_BYTES)).to_domain(name)
    await gateway.routing.catalog.put_deployment(deployment, actor)
    return json_response(_deployment_json.dump_python(deployment, mode="json"))


@for_managers
async def get_deployment(gateway: Gateway, request: Request, _: Actor) -> Response:
    """`GET /manage/deployments/{deployment}`."""
    deployment = await gateway.routing.catalog.deployment(name_of(request))
    return json_response(_deployment_json.dump_python(deployment, mode="json"))


@for_managers
async def list_deployments(gateway: Gateway, _request: Request, _: Actor) -> Response:
    """`GET /manage/deployments`."""
    catalog = await gateway.routing.catalog.load()
    deployments = [_deployment_json.dump_python(each, mode="json") for each in catalog.deployments.values()]
    return list_response(deployments, damaged=catalog.damaged_of("deployment"))
