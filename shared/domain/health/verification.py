"""Verifications of the books by the gateway itself."""

from __future__ import annotations

from datetime import datetime

from shared.domain.values import record


@record
class Verification:
    """The last verification of one tenant's books, or of the audit log, in one period."""

    name: str
    """The tenant, or `audit` for the audit log."""
    period: str
    at: datetime
    entries: int
    """The entries or events that were read."""
    findings: tuple[str, ...] = ()
    """The first violations: invariant and message."""
    finding_count: int = 0
    skipped: str = ""
    """The reason for which nothing was verified; empty if it was."""
