"""Deployments, the backends behind them, and where a tenant's data may be processed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from enum import StrEnum
from urllib.parse import quote

from shared.domain.pricing import Sku
from shared.domain.values import value


class BackendAuth(StrEnum):
    """How the gateway identifies itself to a backend."""

    MANAGED_IDENTITY = "managed_identity"
    API_KEY = "api_key"


@value
class Residency:
    """Where a tenant's data may be processed. No zones named means every zone; global SKUs need `allow_global`."""

    zones: tuple[str, ...] = ()
    allow_global: bool = True


@value
class Backend:
    """One Azure OpenAI resource and deployment."""

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

    @property
    def billed_as(self) -> Sku:
        return Sku(self.model, self.model_version, self.sku, self.region)


@value
class Deployment:
    """The name callers ask for, the pool that serves it, and what is sent upstream where a caller says nothing of it.

    `system_prompt` is put before what every caller sends.
    """

    name: str
    backends: tuple[str, ...]
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
    """A deployment with its backends resolved, best first."""

    deployment: Deployment
    backends: tuple[Backend, ...]


def response_path(response_id: str) -> str:
    """Where a backend has a response that it keeps."""
    return f"/openai/v1/responses/{quote(response_id, safe='')}"


def may_process(backend: Backend, residency: Residency) -> bool:
    """Whether residency allows a backend: `Global*` processes anywhere, `DataZone*` in its zone, others in the region.

    https://learn.microsoft.com/azure/ai-services/openai/how-to/deployment-types
    """
    if backend.sku.startswith("Global"):
        return residency.allow_global
    if not residency.zones:
        return True
    if backend.sku.startswith("DataZone"):
        return backend.zone in residency.zones
    return backend.region in residency.zones or backend.zone in residency.zones


def eligible(backends: Iterable[Backend], residency: Residency) -> list[Backend]:
    """The backends that may process a tenant's data, lowest priority number first, then heaviest."""
    allowed = [backend for backend in backends if may_process(backend, residency)]
    if len(allowed) == 1:
        return allowed
    return sorted(allowed, key=lambda backend: (backend.priority, -backend.weight, backend.backend_id))


@value
class Catalog:
    """Every deployment and backend that is configured."""

    deployments: Mapping[str, Deployment] = field(default_factory=dict)
    backends: Mapping[str, Backend] = field(default_factory=dict)

    def pool(self, deployment: Deployment) -> list[Backend]:
        """The backends of a deployment that exist."""
        return [self.backends[name] for name in deployment.backends if name in self.backends]
