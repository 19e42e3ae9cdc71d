"""Events of the audit log."""

from __future__ import annotations

from datetime import datetime

from shared.domain.values import ValueObject, record


@record
class AuditEvent:
    """One administrative act: its actor, action and target, and the target before and after it."""

    event_id: str
    at: datetime
    actor: str
    action: str
    target: str
    before: ValueObject | None = None
    after: ValueObject | None = None
    source_address: str = ""
