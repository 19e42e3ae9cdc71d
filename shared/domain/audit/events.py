"""Administrative acts, as the audit log keeps them."""

from __future__ import annotations

from datetime import datetime

from shared.domain.values import ValueObject, record


@record
class AuditEvent:
    """An administrative act by an actor on a target, with the object before and after it."""

    event_id: str
    at: datetime
    actor: str
    action: str
    target: str
    before: ValueObject | None = None
    after: ValueObject | None = None
    source_address: str = ""
