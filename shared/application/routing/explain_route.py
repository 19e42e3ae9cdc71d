"""Explain the route of a request without sending one: for each backend, why it would serve or not."""

from __future__ import annotations

from collections.abc import Sequence

from shared.application.cached_value import Cached
from shared.application.ports.clock import Clock
from shared.application.ports.tenancy import TenantDirectory
from shared.application.routing.dispatch import Dispatcher
from shared.domain.errors import BackendUnavailable, NotFound, ResidencyViolation
from shared.domain.routing.backend_health import BackendHealth, BreakerState
from shared.domain.routing.catalog import Backend, Catalog
from shared.domain.routing.selection import Candidate
from shared.domain.tenancy.tenant import Tenant
from shared.domain.values import record, value


@record
class ConsideredBackend:
    """A backend of the pool, and the reason why it would be chosen or not."""

    backend: Backend
    fallback_index: int
    """0 for the deployment's own pool, else the number of the fallback."""
    is_chosen: bool
    reason: str


@value
class RouteExplanation:
    """The outcome in words, and all backends in the order of preference."""

    outcome: str
    considered: Sequence[ConsideredBackend]


class ExplainRoute:
    """The use case of `POST /manage/route`. Its answer holds for this process at this moment."""

    def __init__(
        self, tenants: TenantDirectory, catalog: Cached[Catalog], dispatcher: Dispatcher, clock: Clock
    ) -> None:
        self._tenants = tenants
        self._catalog = catalog
        self._dispatcher = dispatcher
        self._clock = clock

    async def __call__(self, tenant_id: str, name: str, tokens: int) -> RouteExplanation:
        """Explain the route of a request of `tokens` tokens to the deployment `name`. Changes nothing.

        Raises `NotFound` if the tenant or the deployment does not exist, and `RowsDamaged`.
        """
        found, catalog = await self._tenants.get(tenant_id), await self._catalog.get()
        if found is None:
            raise NotFound(f"No tenant '{tenant_id}' is registered.")
        deployment = catalog.deployment(name)
        if deployment is None:
            raise NotFound(f"No deployment '{name}' is configured.")
        tenant = found.value
        chosen, outcome = None, "no backend can serve it now"
        try:
            pool = self._dispatcher.pool(catalog, tenant, deployment)
            chosen = pool.choose(self._clock.monotonic(), tokens)
        except (BackendUnavailable, ResidencyViolation) as error:
            outcome = str(error)
        if name not in tenant.deployments:
            outcome = "the tenant may not call this deployment"
        elif chosen is not None:
            outcome = f"backend '{chosen.backend.backend_id}' would serve it"
        configured = [
            Candidate(backend, self._dispatcher.health(backend), fallback_index)
            for fallback_index, backend in catalog.pool(deployment, tenant.pools.get(name))
        ]
        configured.sort(key=lambda each: (each.tier, each.backend.backend_id))
        return RouteExplanation(outcome, [self._consider(each, tenant, tokens, chosen) for each in configured])

    def _consider(
        self, candidate: Candidate, tenant: Tenant, tokens: int, chosen: Candidate | None
    ) -> ConsideredBackend:
        backend = candidate.backend
        is_chosen = chosen is not None and chosen.backend == backend
        if is_chosen:
            reason = "weighted random choice among the ready backends of its tier, by weight and latency"
        else:
            reason = self._why_not(candidate, tenant, tokens, chosen)
        return ConsideredBackend(
            backend=backend, fallback_index=candidate.fallback_index, is_chosen=is_chosen, reason=reason
        )

    def _why_not(self, candidate: Candidate, tenant: Tenant, tokens: int, chosen: Candidate | None) -> str:
        backend, health, now = candidate.backend, candidate.health, self._clock.monotonic()
        objection = backend.objection(tenant.residency)
        if objection is not None:
            return f"residency: {objection}"
        if not backend.weight:
            return "drained: its weight is 0"
        if not health.is_ready(now):
            return _down(health, now)
        if health.is_full:
            return f"full: {health.in_flight} requests are under way"
        if chosen is not None and chosen.tier < candidate.tier:
            return "a better tier can serve it"
        if not health.has_headroom(now, tokens):
            return "no headroom: its last answer left less of its rate limits than the request needs"
        return "another backend of its tier was chosen"


def _down(health: BackendHealth, now: float) -> str:
    if health.state(now) is BreakerState.HALF_OPEN:
        return f"half open after {health.reason}: one request is trying it"
    seconds = (health.open_until or now) - now
    return f"open after {health.reason}, for {seconds:.1f} s more"
