"""Wire the use cases of alerts."""

from __future__ import annotations

from dataclasses import dataclass

from shared.application.alerts.raise_alert import RaiseAlert
from shared.application.alerts.store_alert import StoreAlert
from shared.composition.adapters import Adapters


@dataclass(frozen=True, slots=True, kw_only=True)
class Alerts:
    """The use cases that store alerts: at once for timers, in the background for requests."""

    store: StoreAlert
    raise_alert: RaiseAlert


def wire_alerts(adapters: Adapters) -> Alerts:
    """Make the use cases of alerts."""
    store = StoreAlert(adapters.alerts)
    return Alerts(store=store, raise_alert=RaiseAlert(store, adapters.clock, adapters.background))
