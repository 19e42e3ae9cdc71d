"""Events of the audit log."""

from __future__ import annotations

from datetime import datetime

from shared.domain.values import ValueObject, record


@record
class AuditEvent:
    """One act: its actor, action and target, and the target before and after it."""

    event_id: str
    at: datetime
    actor: str
    action: str
    """The kind of object and what was done to it, for example `tenant.change`."""
    target: str
    before: ValueObject | None = None
    after: ValueObject | None = None
    source_address: str = ""
    role: str = ""
    request_id: str = ""
    reason: str = ""
    """The reason that the actor states."""
    weakens: tuple[str, ...] = ()
    """The protections that the change takes away or lowers."""


@record
class RefusalCount:
    """Refused requests of one series in one minute."""

    reason: str
    """The code of the error."""
    tenant: str
    key: str
    """The id of the key; empty if it is not known."""
    source: str
    """The network of the caller; empty for a tenant's."""
    count: int


@record
class RefusalSummary:
    """The refused requests that one process has counted in one minute. The largest series come first."""

    minute: str
    count: int
    """All of them, also those of series that are not listed."""
    refusals: tuple[RefusalCount, ...]
