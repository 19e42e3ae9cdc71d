"""Wire the use cases of alerts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from shared.adapters.cloud_events import event_of
from shared.adapters.notifications.addresses import AddressRules
from shared.adapters.notifications.sender import HttpAlertSender
from shared.application.alerts.deliver_alerts import DeliverAlerts
from shared.application.alerts.end_deliveries import EndDeliveries
from shared.application.alerts.forget_alerts import ForgetAlerts
from shared.application.alerts.manage_sinks import ManageSinks
from shared.application.alerts.measure_backlog import MeasureBacklog
from shared.application.alerts.raise_alert import RaiseAlert
from shared.application.alerts.raise_once import RaiseOnce
from shared.application.alerts.store_alert import StoreAlert
from shared.application.alerts.try_sinks import TrySinks
from shared.application.audit.record_audit import RecordAudit
from shared.application.ports.alerts import AlertOutbox
from shared.composition.adapters import Adapters
from shared.domain.alerts.sink import AlertSink, SinkType
from shared.settings import Settings, listed

SETTINGS_SINK: Final = "settings"
"""The name of the sink that the settings define."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alerts:
    """The use cases that raise alerts, deliver them, and manage the sinks that get them."""

    outbox: AlertOutbox
    store: StoreAlert
    """For timers: stores an alert at once."""
    raise_alert: RaiseAlert
    """For requests: stores an alert in the background."""
    deliver: DeliverAlerts
    sinks: ManageSinks
    try_sinks: TrySinks
    raise_once: RaiseOnce
    """For timers that see the same thing at every run."""
    forget: ForgetAlerts
    backlog: MeasureBacklog


def wire_alerts(adapters: Adapters) -> Alerts:
    """Make the use cases of alerts."""
    settings, clock, deliveries = adapters.settings, adapters.clock, adapters.alert_deliveries
    store, of_settings = StoreAlert(adapters.alerts), _sinks_of(settings)
    record_audit = RecordAudit(adapters.audit_outbox, clock)
    sender = HttpAlertSender(adapters.secrets, adapters.tokens, clock, _rules(settings), settings.alert_runbook_url)
    sinks = ManageSinks(
        adapters.alert_sinks,
        deliveries,
        sender,
        adapters.tenants,
        clock,
        record_audit,
        adapters.secret_names.own,
        of_settings,
    )
    deliver = DeliverAlerts(
        adapters.alerts,
        deliveries,
        adapters.alert_sinks,
        sender,
        EndDeliveries(deliveries, clock),
        clock,
        adapters.telemetry.flush,
        of_settings,
    )
    return Alerts(
        outbox=adapters.alerts,
        store=store,
        raise_alert=RaiseAlert(store, clock, adapters.background),
        deliver=deliver,
        sinks=sinks,
        try_sinks=TrySinks(sinks, sender, event_of, record_audit, clock),
        raise_once=RaiseOnce(store, adapters.alerts),
        forget=ForgetAlerts(adapters.alerts, deliveries, clock, settings.alert_retention_days),
        backlog=MeasureBacklog(deliver.configured, deliveries, adapters.telemetry),
    )


def _sinks_of(settings: Settings) -> list[AlertSink]:
    """Return the platform's sinks that the settings define."""
    endpoint = settings.alert_event_grid_endpoint
    return [AlertSink(name=SETTINGS_SINK, type=SinkType.EVENT_GRID, endpoint=endpoint)] if endpoint else []


def _rules(settings: Settings) -> AddressRules:
    return AddressRules(
        host_suffixes=listed(settings.alert_host_suffixes),
        topic_suffixes=listed(settings.alert_event_grid_host_suffixes),
        allow_private=settings.alert_allow_private_addresses,
        allow_loopback=settings.allow_loopback_backends,
    )
