"""Severities of alerts."""

from __future__ import annotations

from enum import StrEnum


class AlertSeverity(StrEnum):
    """The urgency of an alert, ascending. Sinks may ask for a minimum."""

    INFO = "info"
    """Good to know; nobody has to act."""
    WARNING = "warning"
    """Somebody should act within days."""
    ERROR = "error"
    """Callers are refused, or money is at stake: somebody should act today."""
    CRITICAL = "critical"
    """Nothing is served, or the books cannot be trusted: somebody must act now."""

    def reaches(self, minimum: AlertSeverity) -> bool:
        """Tell whether this is at least as urgent as `minimum`."""
        return _ASCENDING.index(self) >= _ASCENDING.index(minimum)


_ASCENDING = tuple(AlertSeverity)
