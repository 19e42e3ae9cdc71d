"""Schedules of timer functions, read as the Functions host reads them."""

from __future__ import annotations

from datetime import datetime


class CronSchedules:
    """Implements `Schedules` for NCRONTAB expressions of six fields.

    https://learn.microsoft.com/azure/azure-functions/functions-bindings-timer#ncrontab-expressions
    """

    def last_due(self, schedule: str, before: datetime) -> datetime:
        from croniter import croniter

        found: datetime = croniter(schedule, before, second_at_beginning=True, day_or=False).get_prev(datetime)
        return found
