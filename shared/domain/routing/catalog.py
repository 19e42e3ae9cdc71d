"""Deployments, and the backends behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from enum import StrEnum
from functools import lru_cache

from shared.domain.pricing.price_book import PriceKey
from shared.domain.routing.residency import Placement, Residency
from shared.domain.values import record, value


class BackendApi(StrEnum):
    """Which of the two path families a backend speaks."""

    AZURE = "azure"
    """Deployments in the path with an api-version, and `/openai/v1`, below the resource's endpoint."""
    OPENAI = "openai"
    """OpenAI's own paths with the model in the body, below an endpoint that ends with the version, as in `/v1`."""


class BackendAuth(StrEnum):
    """How the gateway identifies itself to a backend."""

    MANAGED_IDENTITY = "managed_identity"
    API_KEY = "api_key"


@record
class Backend:
    """One Azure OpenAI resource and deployment, or another server that speaks OpenAI's API.

    The lowest priority comes first, and of one priority provisioned capacity before what is paid by the token. A weight
    of 0 drains: no request begins there any more, and what it keeps stays to be read. `authority` is the identity
    provider of a cloud of its own; empty is the public one.
    """

    backend_id: str
    endpoint: str
    upstream_deployment: str
    model: str
    region: str
    model_version: str = ""
    api_version: str = ""
    sku: str = "Standard"
    zone: str = ""
    priority: int = 1
    weight: int = 1
    auth: BackendAuth = BackendAuth.MANAGED_IDENTITY
    token_scope: str = "https://cognitiveservices.azure.com/.default"
    authority: str = ""
    api: BackendApi = BackendApi.AZURE
    headers: Mapping[str, str] = field(default_factory=dict)
    """Sent with every request, beside the caller's."""
    max_concurrent_requests: int | None = None

    @property
    def placement(self) -> Placement:
        return Placement(self.sku, self.region, self.zone)

    @property
    def processed_in(self) -> str:
        """The narrowest place where it certainly processes."""
        return _processed_in(self.sku, self.region, self.zone)

    @property
    def is_provisioned(self) -> bool:
        return "Provisioned" in self.sku

    @property
    def price_key(self) -> PriceKey:
        return _price_key(model=self.model, model_version=self.model_version, sku=self.sku, region=self.region)


@record
class Deployment:
    """The name callers ask for, the pool that serves it, and what is sent upstream where a caller says nothing of it.

    `system_prompt` is put before what every caller sends. `fallbacks` names the deployments whose pools serve, in this
    order, when the own pool can't. After `hedge_after_ms` without an answer a second backend is asked as well.
    """

    name: str
    backends: tuple[str, ...]
    fallbacks: tuple[str, ...] = ()
    hedge_after_ms: int | None = None
    max_output_tokens: int | None = None
    reserve_output_tokens: int = 4096
    temperature: float | None = None
    top_p: float | None = None
    system_prompt: str = ""

    @property
    def has_sampling(self) -> bool:
        return self.temperature is not None or self.top_p is not None

    @property
    def has_defaults(self) -> bool:
        """Whether any request may need more than its model set."""
        return self.max_output_tokens is not None or bool(self.system_prompt) or self.has_sampling


@value
class Route:
    """A deployment, and the backend that one attempt goes to."""

    deployment: Deployment
    backend: Backend


_price_key = lru_cache(maxsize=1024)(PriceKey)


@lru_cache(maxsize=1024)
def _processed_in(sku: str, region: str, zone: str) -> str:
    return Placement(sku, region, zone).processed_in


@value
class Catalog:
    """Every deployment and backend that is configured."""

    deployments: Mapping[str, Deployment] = field(default_factory=dict)
    backends: Mapping[str, Backend] = field(default_factory=dict)

    def pool(self, deployment: Deployment, own: Sequence[str] | None = None) -> list[tuple[int, Backend]]:
        """The backends behind a deployment that exist, with the fallback they belong to; 0 is the deployment itself.

        `own` replaces the deployment's pool, fallbacks and all.
        """
        pools: list[Sequence[str]] = [deployment.backends if own is None else own]
        if own is None:
            pools += [self.deployments[name].backends for name in deployment.fallbacks if name in self.deployments]
        found: dict[str, tuple[int, Backend]] = {}
        for fallback_index, names in enumerate(pools):
            for name in names:
                if name in self.backends:
                    found.setdefault(name, (fallback_index, self.backends[name]))
        return [*found.values()]

    def obstacle(self, deployment: Deployment, residency: Residency, own: Sequence[str] | None = None) -> str | None:
        """Why a tenant could not be served whatever happens, or `None` if it can be."""
        backends = [backend for _, backend in self.pool(deployment, own)]
        if not backends:
            return "no backend is configured"
        in_service = [backend for backend in backends if backend.weight]
        if not in_service:
            return "every backend is drained"
        objections = [(backend.backend_id, backend.placement.objection(residency)) for backend in in_service]
        if any(objection is None for _, objection in objections):
            return None
        return "; ".join(f"backend '{backend_id}': {objection}" for backend_id, objection in objections)
