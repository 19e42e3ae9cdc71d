"""The sections of the runbook that tell what to do about an alert."""

from __future__ import annotations

from typing import Final

from shared.domain.alerts.alert import AlertKind

_SECTIONS: Final = {
    AlertKind.REGION_DOWN: "region-down",
    AlertKind.POOL_DOWN: "pool-down",
    AlertKind.TIMER_LATE: "timer-late",
    AlertKind.VERIFICATION_FAILED: "verification-failed",
    AlertKind.BUDGET_THRESHOLD: "budget-threshold",
    AlertKind.QUOTA_THRESHOLD: "budget-threshold",
    AlertKind.FORECAST_EXCEEDS_LIMIT: "budget-threshold",
    AlertKind.MODEL_UNPRICED: "model-unpriced",
    AlertKind.SPEND_ANOMALY: "spend-anomaly",
}
"""By kind; all others share a section."""
_BY_NAME: Final = {kind.value: section for kind, section in _SECTIONS.items()}
_OTHERS: Final = "gateway-alert"


def runbook_section(kind: str) -> str:
    """Return the anchor of the section about a kind of alerts."""
    return _BY_NAME.get(kind, _OTHERS)
