"""Verifications of the books by the gateway itself."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from shared.domain.values import record


class Coverage(StrEnum):
    """The part of some books that a verification checked."""

    WHOLE = "whole"
    """Everything that the timer checks."""
    PARTIAL = "partial"
    NONE = "none"
    UNKNOWN = "unknown"
    """An earlier version of the gateway verified, and did not tell what it left out."""


@record
class Verification:
    """The last verification of one tenant's books, or of the audit log, in one period."""

    name: str
    """The tenant, or `audit log`."""
    period: str
    at: datetime
    entries: int
    """The entries or events of the books."""
    findings: tuple[str, ...] = ()
    """The first violations: invariant and message."""
    finding_count: int = 0
    skipped: str = ""
    """The reason for which nothing was verified; empty if something was."""
    coverage: Coverage = Coverage.UNKNOWN
    entries_checked: int = 0
    """The entries or events that this verification read."""
    covered: tuple[str, ...] = ()
    """In words: what was checked, with counts."""
    not_covered: tuple[str, ...] = ()
    """In words: what was left out, with counts and reasons."""
    next_lane: int = 0
    next_entry: int = 1
    """The lane and the entry from which the next verification of large books goes on."""
