"""Events of the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from shared.domain.values import record


@record
class AuditEvent:
    """One administrative act: its actor, action and target, and the target before and after it."""

    event_id: str
    at: datetime
    actor: str
    action: str
    target: str
    before: Mapping[str, object] | None = None
    after: Mapping[str, object] | None = None
    source_address: str = ""
