"""Count refused requests, so that a flood of them is one line a minute in the log."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextvars import Context
from dataclasses import replace
from typing import Final

from shared.application.ports.clock import Clock
from shared.application.structured_log import COUNT, ERROR, SOURCE, TENANT, log_event
from shared.domain.values import record

_MAX_SERIES: Final = 1000
_OTHERS: Final = "others"


@record
class Refusal:
    """The facts by which refusals are counted. `source` is there for callers that are not known to be a tenant."""

    reason: str
    tenant_id: str = ""
    key_id: str = ""
    source: str = ""


def _keep_nothing(minute: str, counts: Mapping[Refusal, int]) -> None:
    """Keep no counts beyond the log."""


class CountRefusals:
    """Counts in memory, and writes one line for each series and minute when the minute is over."""

    def __init__(
        self,
        clock: Clock,
        keep: Callable[[str, Mapping[Refusal, int]], None] = _keep_nothing,
        max_series: int = _MAX_SERIES,
    ) -> None:
        """`keep` gets the counts of each minute. `max_series` bounds memory, log and counts.

        Tenants, keys and sources beyond it are counted as `others`.
        """
        self._keep = keep
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
            refusal = _among_others(refusal)
        self._counts[refusal] = self._counts.get(refusal, 0) + 1
        return self._counts[refusal]

    def flush(self) -> None:
        """Write the counts of the minute, and begin anew."""
        if self._timer is not None:
            self._timer.cancel()
        counts, self._counts, minute, self._minute = self._counts, {}, self._minute, ""
        context = Context()
        context.run(_write, counts, minute)
        context.run(self._keep, minute, counts)


def _among_others(refusal: Refusal) -> Refusal:
    """Return the series of everyone beyond the bound, by reason."""
    tenant_id, source = (_OTHERS if each else "" for each in (refusal.tenant_id, refusal.source))
    return Refusal(reason=refusal.reason, tenant_id=tenant_id, source=source)


def _write(counts: Mapping[Refusal, int], minute: str) -> None:
    """Write one line for each series. It runs in a context of its own, because the lines belong to no request."""
    for refusal, count in _without_keys(counts).items():
        fields = {ERROR: refusal.reason, TENANT: refusal.tenant_id, SOURCE: refusal.source}
        known = {name: text for name, text in fields.items() if text}
        log_event(logging.INFO, "gateway.refusals", {**known, "gateway.minute": minute, COUNT: count})


def _without_keys(counts: Mapping[Refusal, int]) -> Mapping[Refusal, int]:
    """Return the counts of all keys of a tenant together."""
    added: dict[Refusal, int] = {}
    for refusal, count in counts.items():
        series = replace(refusal, key_id="")
        added[series] = added.get(series, 0) + count
    return added
