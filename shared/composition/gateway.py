"""Wire the gateway of one process: all its use cases, by subject."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial

from shared.adapters.tables.books import TableBooks
from shared.application.audit.count_refusals import CountRefusals
from shared.application.background import Background
from shared.application.evidence.export_evidence import ExportEvidence
from shared.application.evidence.prove_entry import ProveEntry
from shared.application.ports.clock import Clock
from shared.application.ports.telemetry import Telemetry
from shared.application.routing.bootstrap_catalog import BootstrapCatalog
from shared.application.sweep import Sweep
from shared.composition.adapters import Adapters, connect
from shared.composition.alerts import Alerts, wire_alerts
from shared.composition.anchors import Anchors, wire_anchors
from shared.composition.audit import Audit, wire_audit
from shared.composition.billing import Billing, wire_billing
from shared.composition.evidence import wire_evidence
from shared.composition.health import Health, wire_health
from shared.composition.inference import Inference, wire_inference
from shared.composition.ledger import LedgerJobs, wire_ledger
from shared.composition.pricing import Pricing, wire_pricing
from shared.composition.routing import Routing, wire_routing
from shared.composition.start_log import log_started
from shared.composition.tenancy import Tenancy, wire_tenancy
from shared.domain.errors import InvalidRequest
from shared.first_backend import as_settings_problem, first_backend, is_first_backend_stated
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
    alerts: Alerts
    anchors: Anchors
    audit: Audit
    evidence: ExportEvidence
    prove_entry: ProveEntry
    health: Health
    background: Background
    telemetry: Telemetry
    refusals: CountRefusals
    resources: AsyncExitStack

    async def aclose(self) -> None:
        """Finish background work and commits, then close all connections."""
        self.refusals.flush()
        await self.background.drain()
        await self.ledger.books.drain()
        await self.resources.aclose()


async def build(settings: Settings, clock: Clock | None = None) -> Gateway:
    """Wire a gateway. `clock` is by default corrected by the time of the storage account, which is asked for it.

    Creates the first backend if the settings define it and there is none. Raises `SettingsInvalid` if they define it
    wrongly, `SecretUnavailable` if the chain key is in a vault that cannot be read, and `StorageUnavailable`.
    """
    adapters = await connect(settings, clock)
    try:
        gateway = await _wire(adapters)
    except BaseException:
        await adapters.resources.aclose()
        raise
    log_started(settings)
    return gateway


async def _wire(adapters: Adapters) -> Gateway:
    settings = adapters.settings
    sweep = Sweep(adapters.cursors, adapters.clock, settings.timer_slice_seconds)
    pricing = wire_pricing(adapters)
    audit = wire_audit(adapters)
    alerts = wire_alerts(adapters)
    routing = wire_routing(adapters, alerts)
    await _create_first_backend(settings, routing.bootstrap)
    tenancy = wire_tenancy(adapters, sweep, alerts)
    ledger = wire_ledger(adapters, pricing, sweep)
    anchors = wire_anchors(adapters)
    billing = wire_billing(adapters, ledger, sweep, alerts)
    return Gateway(
        settings=settings,
        clock=adapters.clock,
        inference=wire_inference(adapters, tenancy, pricing, routing, sweep),
        routing=routing,
        tenancy=tenancy,
        pricing=pricing,
        ledger=ledger,
        billing=billing,
        alerts=alerts,
        anchors=anchors,
        evidence=wire_evidence(adapters, ledger, anchors),
        prove_entry=ProveEntry(TableBooks(adapters.store), anchors.store, adapters.tenants),
        audit=audit,
        health=wire_health(adapters, ledger, audit, billing, pricing, alerts),
        background=adapters.background,
        telemetry=adapters.telemetry,
        refusals=CountRefusals(adapters.clock, audit.record_refusals),
        resources=adapters.resources,
    )


async def _create_first_backend(settings: Settings, bootstrap: BootstrapCatalog) -> None:
    if is_first_backend_stated(settings):
        try:
            await bootstrap(partial(first_backend, settings))
        except InvalidRequest as error:
            raise as_settings_problem(error) from error
