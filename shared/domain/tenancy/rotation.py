"""The rotation of a gateway key: when the old key ends, and when its successor does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from shared.domain.errors import InvalidRequest
from shared.domain.tenancy.keys import GatewayKey
from shared.domain.values import record

DEFAULT_OVERLAP_HOURS: Final = 24
MAX_OVERLAP_HOURS: Final = 90 * 24
_LATEST: Final = datetime.max.replace(tzinfo=UTC)
"""Some write the year 9999 for a key that never ends."""


@record
class Rotation:
    """The wishes of the one who rotates a key."""

    overlap: timedelta = timedelta(hours=DEFAULT_OVERLAP_HOURS)
    """The time for which both keys are accepted."""
    old_expires_at: datetime | None = None
    """The end of the old key, instead of the overlap."""
    is_new_end_stated: bool = False
    new_expires_at: datetime | None = None
    """The stated end of the new key; `None` for none."""

    def end_of_old(self, old: GatewayKey, now: datetime) -> datetime:
        """Return the end of the old key. A rotation never makes a key last longer. Raises `InvalidRequest`."""
        end = self.old_expires_at or now + self.overlap
        if not now <= end <= now + timedelta(hours=MAX_OVERLAP_HOURS):
            raise InvalidRequest("'expires_at' must be within the next 90 days.", "expires_at")
        return end if old.expires_at is None else min(end, old.expires_at)

    def end_of_new(self, old: GatewayKey, now: datetime) -> datetime | None:
        """Return the end of the new key: the stated one, else the old key's lifetime from now on. Raises likewise."""
        if not self.is_new_end_stated:
            return None if old.expires_at is None else now + min(old.expires_at - old.created_at, _LATEST - now)
        if self.new_expires_at is not None and self.new_expires_at <= now:
            raise InvalidRequest("'new_key_expires_at' must be in the future.", "new_key_expires_at")
        return self.new_expires_at
