"""The routes that list models: the deployments that the calling tenant may use."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from shared.application.tenancy.principals import TenantPrincipal
from shared.composition.inference import Inference
from shared.domain.identity.role import INFERENCE
from shared.http.callers import tenant_principal
from shared.http.endpoint import for_inference, json_response
from shared.http.requests import headers_of, path_segment

_MODEL_SEGMENT: Final = 3


@for_inference
async def list_models(inference: Inference, request: Request, _: str) -> Response:
    """Serve `GET /openai/v1/models` and `GET /openai/models?api-version=`."""
    caller = await _caller(inference, request)
    names = await inference.list_models(caller.tenant)
    return json_response({"object": "list", "data": [_model(name) for name in names]})


@for_inference
async def get_model(inference: Inference, request: Request, _: str) -> Response:
    """Serve `GET /openai/v1/models/{model}`."""
    caller = await _caller(inference, request)
    name = await inference.list_models.one(caller.tenant, path_segment(request, _MODEL_SEGMENT))
    return json_response(_model(name))


async def _caller(inference: Inference, request: Request) -> TenantPrincipal:
    hops = inference.trusted_proxy_hops
    return await tenant_principal(inference.authenticate, request, headers_of(request), hops, INFERENCE)


def _model(name: str) -> dict[str, object]:
    """Return a deployment as the SDKs expect a model. `created` is 0, because a tenant need not know the time."""
    return {"id": name, "object": "model", "created": 0, "owned_by": "tallygate"}
