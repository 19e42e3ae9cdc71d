"""The machine's clock, corrected by the clock of storage."""

from __future__ import annotations

import asyncio
import math
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final

_RANGE_SECONDS: Final = 300.0
"""A range is narrowed for this long and then begun anew, because clocks drift."""
_DATE_RESOLUTION_SECONDS: Final = 1.0


class StorageClock:
    """Implements `Clock`. All gateways over one storage account agree on the time.

    The `Date` header of an answer (RFC 9110) tells to the second when storage made it. That was after the request was
    sent and before its answer arrived. So each header bounds the correction on both sides, and all headers of the last
    minutes leave a narrow range. Its smallest correction is used: zero if the machine's clock may be right.
    """

    def __init__(self) -> None:
        self._correction_seconds = 0.0
        self._least, self._most = -math.inf, math.inf
        """The range of possible corrections in seconds."""
        self._range_began_at = 0.0
        """Seconds of the machine's clock."""

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._machine_time() + self._correction_seconds, UTC)

    monotonic = staticmethod(time.monotonic)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def observe(self, date: bytes, seconds: float) -> None:
        """Learn from the `Date` header of an answer that has just arrived, `seconds` after its request was sent.

        An unreadable header is ignored.
        """
        stated = self._storage_time(date)
        if stated is None:
            return
        arrived_at = self._machine_time()
        # Storage answered between sending and arrival. The header is rounded down, so its time was up to a second more.
        least, most = stated - arrived_at, stated + _DATE_RESOLUTION_SECONDS - (arrived_at - seconds)
        is_old = not 0 <= arrived_at - self._range_began_at < _RANGE_SECONDS
        # A header outside the range means that somebody has set one of the two clocks.
        if is_old or least > self._most or most < self._least:
            self._least, self._most, self._range_began_at = -math.inf, math.inf, arrived_at
        self._least, self._most = max(least, self._least), min(most, self._most)
        self._correction_seconds = min(max(0.0, self._least), self._most)

    def _machine_time(self) -> float:
        return time.time()

    def _storage_time(self, date: bytes) -> float | None:
        return _seconds_of(date)


@lru_cache(maxsize=4)
def _seconds_of(date: bytes) -> float | None:
    """Read an RFC 9110 date in seconds since 1970; `None` if it is not one."""
    try:
        return parsedate_to_datetime(date.decode("latin-1")).timestamp()
    except ValueError:
        return None
