"""Runs of the timer functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field, replace
from datetime import datetime

from shared.domain.values import record


@record
class TimerRun:
    """The last run of a timer function on any instance, and what is known of those before it."""

    timer: str
    instance: str
    started_at: datetime
    seconds: float
    error: str = ""
    """The type of the error of a run that failed; empty if it succeeded."""
    counts: Mapping[str, int] = field(default_factory=dict)
    first_at: datetime | None = None
    """The start of the first run that was noted."""
    succeeded_at: datetime | None = None
    """The start of the last run that succeeded."""
    failures: int = 0
    """The runs that failed since the last one that succeeded."""

    def after(self, before: TimerRun | None) -> TimerRun:
        """Return this run with what is known of those before it."""
        first_at = before.first_at if before else self.started_at
        if not self.error:
            return replace(self, first_at=first_at, succeeded_at=self.started_at, failures=0)
        succeeded_at, failures = (before.succeeded_at, before.failures) if before else (None, 0)
        return replace(self, first_at=first_at, succeeded_at=succeeded_at, failures=failures + 1)


@record
class TimerState:
    """A timer function, its schedule and its last run."""

    timer: str
    schedule: str
    """Six fields, as Azure Functions reads them: seconds first."""
    run: TimerRun | None
    """`None` if no run was ever noted."""
    age_seconds: float | None
    """The time since the start of the last run that succeeded; `None` if none ever did."""
    is_late: bool
    """A run was due for longer than the grace, and none has succeeded since then."""
