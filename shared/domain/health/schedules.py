"""Schedules of the timer functions, as `function_app.py` states them. A test compares the two."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Final

SCHEDULES: Final[Mapping[str, str]] = {
    "reset_monthly_quotas": "0 0 * 1,25-31 * *",
    "export_chargeback": "0 */10 2 * * *",
    "expire_reservations": "0 * * * * *",
    "level_lanes": "30 * * * * *",
    "settle_background_responses": "15 * * * * *",
    "reconcile_limits": "0 3-59/5 * * * *",
    "chain_audit": "45 * * * * *",
    "roll_up_usage": "0 */5 * * * *",
    "anchor_audit": "0 1-59/5 * * * *",
    "report_health": "40 4-59/5 * * * *",
    "verify_books": "20 20 * * * *",
    "describe_tenants": "10 50 * * * *",
    "deliver_alerts": "20 * * * * *",
    "watch_budgets": "30 2-59/5 * * * *",
    "watch_spending": "50 35 * * * *",
}
"""By timer: six fields, seconds first."""
GRACE: Final = timedelta(minutes=15)
"""A timer is late if a run was due for longer, and none has succeeded since. Slices of timers are shorter."""
