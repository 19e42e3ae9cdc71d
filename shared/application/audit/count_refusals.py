"""Count refused requests, so that a flood of them is one line a minute in the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextvars import Context
from typing import Final

from shared.application.ports.clock import Clock
from shared.application.structured_log import COUNT, ERROR, SOURCE, TENANT, log_event
from shared.domain.values import value

_MAX_SERIES: Final = 1000
_OTHERS: Final = "others"


@value
class Refusal:
    """The facts by which refusals are counted. `source` is known for callers that are no tenant."""

    reason: str
    tenant_id: str = ""
    source: str = ""


class CountRefusals:
    """Counts in memory, and writes one line for each series and minute when the minute is over."""

    def __init__(self, clock: Clock, max_series: int = _MAX_SERIES) -> None:
        """`max_series` bounds the memory and the log. Tenants and sources beyond it are counted as `others`."""
        self._clock = clock
        self._max_series = max_series
        self._minute = ""
        self._counts: dict[Refusal, int] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self, refusal: Refusal) -> int:
        """Count a refusal. Returns the number of its series in this minute."""
        now = self._clock.now()
        minute = f"{now:%Y-%m-%dT%H:%MZ}"
        if minute != self._minute:
            self.flush()
            self._minute = minute
            self._timer = asyncio.get_running_loop().call_later(60 - now.second, self.flush)
        if refusal not in self._counts and len(self._counts) >= self._max_series:
            refusal = Refusal(refusal.reason, _OTHERS if refusal.tenant_id else "", _OTHERS if refusal.source else "")
        self._counts[refusal] = self._counts.get(refusal, 0) + 1
        return self._counts[refusal]

    def flush(self) -> None:
        """Write the counts of the minute, and begin anew."""
        if self._timer is not None:
            self._timer.cancel()
        counts, self._counts, minute, self._minute = self._counts, {}, self._minute, ""
        Context().run(_write, counts, minute)


def _write(counts: Mapping[Refusal, int], minute: str) -> None:
    """Write one line for each series. It runs in a context of its own, because the lines belong to no request."""
    for refusal, count in counts.items():
        fields = {ERROR: refusal.reason, TENANT: refusal.tenant_id, SOURCE: refusal.source}
        known = {name: text for name, text in fields.items() if text}
        log_event(logging.INFO, "gateway.refusals", {**known, "gateway.minute": minute, COUNT: count})
