"""Deployments, and the backends behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from enum import StrEnum
from functools import lru_cache
from typing import Literal, TypeAlias

from shared.domain.damaged_row import DamagedRow
from shared.domain.errors import RowsDamaged
from shared.domain.pricing.price_book import PriceKey
from shared.domain.routing.residency import Placement, Residency
from shared.domain.routing.spillover import Spillover
from shared.domain.values import record, value


@lru_cache(maxsize=4096)  # each request needs the key of its backend: a look-up costs half of making it (ADR 12)
def _price_key(model: str, model_version: str, sku: str, region: str) -> PriceKey:
    return PriceKey(model=model, model_version=model_version, sku=sku, region=region)


@lru_cache(maxsize=4096)  # as above
def _processed_in(sku: str, region: str, zone: str) -> str:
    return Placement(sku, region, zone).processed_in


class BackendApi(StrEnum):
    """The path family that a backend uses."""

    AZURE = "azure"
    """Azure's paths below the resource's endpoint: deployments with an api-version, and `/openai/v1`."""
    OPENAI = "openai"
    """OpenAI's own paths, with the model in the body. The endpoint ends with the version, for example `/v1`."""


class BackendAuth(StrEnum):
    """The way in which the gateway authenticates to a backend."""

    MANAGED_IDENTITY = "managed_identity"
    API_KEY = "api_key"


@record
class Backend:
    """One Azure OpenAI resource and deployment, or another server that has OpenAI's API."""

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
    """The lowest number is preferred. Of equal priority, provisioned capacity is preferred to payment by the token."""
    weight: int = 1
    """Share of its tier's requests. 0 drains the backend: it gets no new request; stored responses stay readable."""
    auth: BackendAuth = BackendAuth.MANAGED_IDENTITY
    secret_name: str = ""
    """The secret of the key vault that holds its key; empty for the key that all backends share that name none."""
    token_scope: str = "https://cognitiveservices.azure.com/.default"
    authority: str = ""
    """Identity provider of a sovereign cloud; empty for the public cloud."""
    api: BackendApi = BackendApi.AZURE
    headers: Mapping[str, str] = field(default_factory=dict)
    """Headers to send with every request, in addition to the caller's."""
    max_concurrent_requests: int | None = None
    """The most requests that one process sends at the same time; `None` for no limit."""
    spillover_deployment: Spillover | None = None
    """The deployment to which Azure itself sends what this one cannot take; `None` if there is none."""

    @property
    def placement(self) -> Placement:
        """The place of the backend, for residency."""
        return Placement(self.sku, self.region, self.zone)

    @property
    def processed_in(self) -> str:
        """The narrowest place where it certainly processes requests: a region, a zone, or `global`."""
        return _processed_in(self.sku, self.region, self.zone)

    def objection(self, residency: Residency) -> str | None:
        """Return the reason why a tenant's data may not be sent here; `None` if it may. Judges the spillover, too."""
        own, spillover = self.placement.objection(residency), self.spillover_deployment
        if own is not None or spillover is None:
            return own
        spilled = spillover.placement.objection(residency)
        return None if spilled is None else f"its spillover deployment '{spillover.deployment}': {spilled}"

    @property
    def is_provisioned(self) -> bool:
        """The backend has provisioned capacity, which is paid for whether it is used or not."""
        return "Provisioned" in self.sku

    @property
    def price_key(self) -> PriceKey:
        """The key of its prices."""
        return _price_key(self.model, self.model_version, self.sku, self.region)


@record
class Deployment:
    """The name that callers request, its pool of backends, and defaults for what a caller leaves out."""

    name: str
    backends: tuple[str, ...]
    fallbacks: tuple[str, ...] = ()
    """Deployments whose pools serve, in this order, if its own pool cannot."""
    hedge_after_ms: int | None = None
    """After this time without an answer, a second backend is asked as well; `None` for never."""
    max_output_tokens: int | None = None
    """Cap on output tokens if the caller sets none; `None` for no cap."""
    reserve_output_tokens: int = 4096
    """Output tokens to reserve for each choice if no cap is set."""
    temperature: float | None = None
    top_p: float | None = None
    system_prompt: str = ""
    """Text to put before the input of every caller."""

    @property
    def has_sampling(self) -> bool:
        """The deployment has a default for `temperature` or `top_p`."""
        return self.temperature is not None or self.top_p is not None

    @property
    def has_defaults(self) -> bool:
        """The gateway may have to add fields to a body, and not only set its model."""
        return self.max_output_tokens is not None or bool(self.system_prompt) or self.has_sampling


@value
class Route:
    """The deployment and the backend of one attempt."""

    deployment: Deployment
    backend: Backend


CatalogKind: TypeAlias = Literal["backend", "deployment"]
CatalogName: TypeAlias = tuple[CatalogKind, str]


@value
class Catalog:
    """All configured deployments and backends. Those whose rows are damaged are named, and do not serve."""

    deployments: Mapping[str, Deployment] = field(default_factory=dict)
    backends: Mapping[str, Backend] = field(default_factory=dict)
    damaged: Mapping[CatalogName, DamagedRow] = field(default_factory=dict)

    def damaged_of(self, kind: CatalogKind) -> list[DamagedRow]:
        """Return the damaged rows of deployments, or of backends."""
        return [row for (each, _), row in self.damaged.items() if each == kind]

    def require_sound(self, kind: CatalogKind, *names: str) -> None:
        """Raise `RowsDamaged` if the row of one of these deployments or backends is damaged."""
        for name in names:
            row = self.damaged.get((kind, name))
            if row is not None:
                raise RowsDamaged(f"The {kind} '{name}' cannot be used, because its row is damaged: {row}.")

    def backend(self, name: str) -> Backend | None:
        """Return a backend; `None` if there is none. Raises `RowsDamaged` if its row is damaged."""
        self.require_sound("backend", name)
        return self.backends.get(name)

    def deployment(self, name: str) -> Deployment | None:
        """Return a deployment; `None` if there is none. Raises `RowsDamaged` if its row is damaged."""
        self.require_sound("deployment", name)
        return self.deployments.get(name)

    def require_sound_pool(self, deployment: Deployment, own: Sequence[str] | None = None) -> None:
        """Raise `RowsDamaged` if a row is damaged that may give a backend to the pool of a deployment."""
        if own is None:
            self.require_sound("deployment", *deployment.fallbacks)
        for names in self._names(deployment, own):
            self.require_sound("backend", *names)

    def pool(self, deployment: Deployment, own: Sequence[str] | None = None) -> list[tuple[int, Backend]]:
        """List the existing backends of a deployment, each with the index of its fallback; 0 is the deployment itself.

        `own` replaces the deployment's pool and its fallbacks.
        """
        found: dict[str, tuple[int, Backend]] = {}
        for fallback_index, names in enumerate(self._names(deployment, own)):
            for name in names:
                if name in self.backends:
                    found.setdefault(name, (fallback_index, self.backends[name]))
        return [*found.values()]

    def _names(self, deployment: Deployment, own: Sequence[str] | None) -> list[Sequence[str]]:
        """List the names of a deployment's pool, and those of each fallback that exists."""
        if own is not None:
            return [own]
        fallbacks = [self.deployments[name] for name in deployment.fallbacks if name in self.deployments]
        return [each.backends for each in (deployment, *fallbacks)]

    def obstacle(self, deployment: Deployment, residency: Residency, own: Sequence[str] | None = None) -> str | None:
        """Return the reason why the deployment can never serve a tenant; `None` if it can.

        `own` replaces the deployment's pool and its fallbacks.
        """
        backends = [backend for _, backend in self.pool(deployment, own)]
        if not backends:
            return "no backend is configured"
        in_service = [backend for backend in backends if backend.weight]
        if not in_service:
            return "every backend is drained"
        objections = [(backend.backend_id, backend.objection(residency)) for backend in in_service]
        if any(objection is None for _, objection in objections):
            return None
        return "; ".join(f"backend '{backend_id}': {objection}" for backend_id, objection in objections)
