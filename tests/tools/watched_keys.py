"""The watch over keys, and the alerts and uses that it stores."""

from __future__ import annotations

import json
from typing import Any

from shared.adapters.documents.alerts import DocumentAlerts
from shared.adapters.documents.store import Documents
from shared.adapters.documents.tenancy import DocumentKeyUses
from shared.application.alerts.raise_alert import RaiseAlert
from shared.application.alerts.store_alert import StoreAlert
from shared.application.background import Background
from shared.application.ports.clock import Clock
from shared.application.tenancy.note_key_use import NoteKeyUse
from shared.application.tenancy.watch_keys import WatchKeys


def watch_of(documents: Documents, clock: Clock, background: Background) -> WatchKeys:
    """Make a watch that stores in these documents."""
    note_use = NoteKeyUse(DocumentKeyUses(documents), clock, background)
    return WatchKeys(note_use, RaiseAlert(StoreAlert(DocumentAlerts(documents)), clock, background))


async def stored_alerts(documents: Documents) -> list[dict[str, Any]]:
    """Return the events in the outbox that are not handed to sinks yet, by kind and id."""
    return [json.loads(each.text) for each in await documents.list("alerts", before="~")]
