"""Write a log line for each change of the configuration or of a key, once its audit event is chained."""

from __future__ import annotations

import json
import logging
from typing import Final

from shared.application.structured_log import REQUEST, log_event
from shared.domain.audit.audit_chain import WaitingEvent

_NO_CHANGES: Final = frozenset({"access.denied", "baseline", "admin_key.use"})
"""Acts that change nothing."""


def log_change(event: WaitingEvent) -> None:
    """Write who did what to which object, and by which request. The audit log has the values."""
    stated = json.loads(event.text)
    action = str(stated["action"])
    if action in _NO_CHANGES:
        return
    fields = {
        REQUEST: str(stated["request_id"]),
        "gateway.action": action,
        "gateway.subject": str(stated["target"]),
        "gateway.actor": str(stated["actor"]),
    }
    if action.startswith("key."):
        log_event(logging.INFO, "gateway.key.changed", fields)
    else:
        log_event(logging.INFO, "gateway.configuration.changed", fields)
