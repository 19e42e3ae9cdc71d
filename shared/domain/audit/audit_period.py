"""The state of a month of the audit log: a legal hold on it, and what retention has deleted of it."""

from __future__ import annotations

from datetime import datetime

from shared.domain.audit.audit_chain import AuditHead
from shared.domain.values import record


@record
class AuditPeriod:
    """A month. While it is on hold, nothing of it is deleted. What is deleted leaves the end of its chain."""

    period: str
    hold_since: datetime | None = None
    hold_by: str = ""
    hold_reason: str = ""
    deleted_at: datetime | None = None
    deleted_seq: int = 0
    """The number of the last event that was deleted."""
    deleted_head: str = ""
    """Its hash, so that the rest of the chain and its anchors can still be checked."""
    told_at: datetime | None = None
    """The time of the newest event that tells the deletion; `None` if it is the one of the deletion itself."""

    @property
    def deleted(self) -> AuditHead | None:
        """The end of what retention has deleted of the chain; `None` if it has deleted nothing of it."""
        return AuditHead(self.period, self.deleted_seq, self.deleted_head) if self.deleted_seq else None
