"""Wire the use cases that choose backends."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from shared.application.cached_value import Cached
from shared.application.routing.alert_breakers import BreakerAlerts
from shared.application.routing.bootstrap_catalog import BootstrapCatalog
from shared.application.routing.dispatch import Dispatcher
from shared.application.routing.explain_route import ExplainRoute
from shared.application.routing.fair_queue import WaitingPolicy
from shared.application.routing.manage_catalog import ManageCatalog
from shared.application.routing.tenant_turns import TenantTurns
from shared.composition.adapters import Adapters
from shared.composition.alerts import Alerts
from shared.composition.secrets import SecretNames
from shared.domain.routing.backend_health import BreakerPolicy
from shared.domain.routing.backend_rules import BackendRules
from shared.domain.routing.catalog import Catalog
from shared.settings import Settings, listed


@dataclass(frozen=True, slots=True, kw_only=True)
class Routing:
    """The use cases that give backends to requests, explain the choice, and manage backends and deployments."""

    configured: Cached[Catalog]
    dispatcher: Dispatcher
    turns: TenantTurns
    explain: ExplainRoute
    catalog: ManageCatalog
    bootstrap: BootstrapCatalog


def wire_routing(adapters: Adapters, alerts: Alerts) -> Routing:
    """Make the dispatcher and the tenant turns of this process, and the use cases that need them."""
    settings, clock = adapters.settings, adapters.clock
    waiting = WaitingPolicy(settings.queue_timeout_seconds, settings.max_queued)
    dispatcher = Dispatcher(
        clock,
        adapters.background,
        adapters.hints,
        settings.website_instance_id,
        waiting,
        BreakerPolicy(),
        settings.backend_tenant_share,
        BreakerAlerts(alerts.raise_alert),
    )

    async def load() -> Catalog:
        """Load backends and deployments together with the hints of other processes."""
        catalog, hints = await asyncio.gather(adapters.catalog.load(), adapters.hints.load())
        dispatcher.apply_hints(hints.readable, catalog.backends)
        return catalog

    configured, rules = Cached(load, clock), _backend_rules(settings)
    return Routing(
        configured=configured,
        dispatcher=dispatcher,
        turns=TenantTurns(waiting),
        explain=ExplainRoute(adapters.tenants, configured, dispatcher, clock),
        catalog=ManageCatalog(adapters.catalog, configured, adapters.tenants, clock, rules),
        bootstrap=BootstrapCatalog(adapters.catalog, adapters.tenants, adapters.prices, clock, rules),
    )


def _backend_rules(settings: Settings) -> BackendRules:
    return BackendRules(
        host_suffixes=listed(settings.backend_host_suffixes),
        allow_loopback=settings.allow_loopback_backends,
        regions=listed(settings.allowed_regions),
        skus=listed(settings.allowed_skus),
        zones=listed(settings.allowed_zones),
        token_scopes=listed(settings.allowed_token_scopes),
        authorities=listed(settings.allowed_authorities),
        has_vault=bool(settings.azure_key_vault_url),
        own_secrets=SecretNames.of(settings).own,
    )
