"""Wire the gateway of one process: all its use cases, by subject."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass

from shared.adapters.azure_openai.probe import OpenAIProbe
from shared.application.audit.count_refusals import CountRefusals
from shared.application.background import Background
from shared.application.health.check_readiness import CheckReadiness
from shared.application.ports.clock import Clock
from shared.application.sweep import Sweep
from shared.composition.adapters import connect
from shared.composition.anchors import Anchors, wire_anchors
from shared.composition.audit import Audit, wire_audit
from shared.composition.billing import Billing, wire_billing
from shared.composition.inference import Inference, wire_inference
from shared.composition.ledger import LedgerJobs, wire_ledger
from shared.composition.pricing import Pricing, wire_pricing
from shared.composition.routing import Routing, wire_routing
from shared.composition.tenancy import Tenancy, wire_tenancy
from shared.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Gateway:
    """The use cases of one process, by subject."""

    settings: Settings
    clock: Clock
    inference: Inference
    routing: Routing
    tenancy: Tenancy
    pricing: Pricing
    ledger: LedgerJobs
    billing: Billing
    anchors: Anchors
    audit: Audit
    readiness: CheckReadiness
    background: Background
    refusals: CountRefusals
    resources: AsyncExitStack

    async def aclose(self) -> None:
        """Finish background work and commits, then close all connections."""
        await self.background.drain()
        await self.ledger.books.drain()
        await self.resources.aclose()
        self.refusals.flush()


async def build(settings: Settings, clock: Clock | None = None) -> Gateway:
    """Wire a gateway. `clock` is by default corrected by the time of the storage account, which is asked for it."""
    adapters = await connect(settings, clock)
    sweep = Sweep(adapters.cursors, adapters.clock, settings.timer_slice_seconds)
    pricing = wire_pricing(adapters)
    routing = wire_routing(adapters)
    tenancy = wire_tenancy(adapters, sweep)
    ledger = wire_ledger(adapters, pricing, sweep)
    probe = OpenAIProbe(adapters.tokens, adapters.backend_keys)
    return Gateway(
        settings=settings,
        clock=adapters.clock,
        inference=wire_inference(adapters, tenancy.authenticate, pricing, routing, sweep),
        routing=routing,
        tenancy=tenancy,
        pricing=pricing,
        ledger=ledger,
        billing=wire_billing(adapters, ledger, sweep),
        anchors=wire_anchors(adapters),
        audit=wire_audit(adapters),
        readiness=CheckReadiness(adapters.ledger, adapters.catalog, probe, adapters.clock),
        background=adapters.background,
        refusals=CountRefusals(adapters.clock),
        resources=adapters.resources,
    )
