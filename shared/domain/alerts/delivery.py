"""Deliveries: one event for one sink, and when it is tried again."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from shared.domain.alerts.event import AlertEvent
from shared.domain.alerts.sink import SinkId
from shared.domain.values import record

RETRY_SECONDS: Final = (5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600)
"""The waits after the first, second and further failures. After the last wait one more try is made."""
MAX_AGE: Final = timedelta(hours=48)
"""A delivery that is older is given up, also if its sink was never reached."""
_MAX_WAIT: Final = timedelta(hours=12)
"""The longest wait that a sink may ask for."""


@record
class Delivery:
    """An event that waits for one sink."""

    sink_id: SinkId
    event: AlertEvent
    attempts: int
    """The tries that were begun."""
    due: datetime
    """No try begins earlier. While one is under way: the end of its lease."""
    stored_at: datetime
    etag: str

    def retry_at(self, now: datetime, retry_after_seconds: float) -> datetime | None:
        """Return when the next try may begin, after one that failed; `None` if it was the last one."""
        if self.attempts > len(RETRY_SECONDS) or self.is_too_old(now):
            return None
        asked = min(_MAX_WAIT, timedelta(seconds=retry_after_seconds))
        return now + max(asked, timedelta(seconds=RETRY_SECONDS[self.attempts - 1]))

    def is_too_old(self, now: datetime) -> bool:
        """Tell whether the delivery is given up because of its age."""
        return now - self.stored_at > MAX_AGE


@record
class GivenUp:
    """The end of a delivery that failed for good, as its audit event has it."""

    kind: str
    alert: str
    """The id of the event."""
    subject: str
    attempts: int
    cause: str
