"""The time of the machine, corrected by the time of storage."""

from __future__ import annotations

import asyncio
import math
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final

_FORGET_SECONDS: Final = 300.0
_RESOLUTION_SECONDS: Final = 1.0


class StorageClock:
    """Implements `Clock`: the machine's time, corrected so that all gateways over one storage account agree.

    The `Date` header of an answer of storage says to the second when it was made, somewhere between the request and its
    arrival. Together the last minutes' headers leave a narrow range of corrections, of which the smallest is taken:
    none, if the machine's clock may be right.
    """

    def __init__(self) -> None:
        self._correction = 0.0
        self._least, self._most = -math.inf, math.inf
        self._since = 0.0

    def now(self) -> datetime:
        return datetime.fromtimestamp(self._machine_time() + self._correction, UTC)

    monotonic = staticmethod(time.monotonic)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def observe(self, date: bytes, seconds: float) -> None:
        """Storage has just answered, with this `Date` header, a request that took so many seconds."""
        stated = self._storage_time(date)
        if stated is None:
            return
        arrived = self._machine_time()
        least, most = stated - arrived, stated + _RESOLUTION_SECONDS - (arrived - seconds)
        is_old = not 0 <= arrived - self._since < _FORGET_SECONDS
        if is_old or least > self._most or most < self._least:  # or one of both clocks was set
            self._least, self._most, self._since = -math.inf, math.inf, arrived
        self._least, self._most = max(least, self._least), min(most, self._most)
        self._correction = min(max(0.0, self._least), self._most)

    def _machine_time(self) -> float:
        return time.time()

    def _storage_time(self, date: bytes) -> float | None:
        return _seconds_of(date)


@lru_cache(maxsize=4)
def _seconds_of(date: bytes) -> float | None:
    """An RFC 9110 date in seconds since 1970, or `None` if it is none."""
    try:
        return parsedate_to_datetime(date.decode("latin-1")).timestamp()
    except ValueError:
        return None
