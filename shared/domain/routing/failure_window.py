"""Counts of the requests and failures of a backend in about the last window of time."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class FailureWindow:
    """Counts the current period and the one before, so that no request needs a time stamp of its own."""

    since: float = -math.inf
    requests: int = 0
    failures: int = 0
    requests_before: int = 0
    failures_before: int = 0

    def count(self, now: float, seconds: float, *, failed: bool) -> None:
        """Count one request."""
        self.roll(now, seconds)
        self.requests += 1
        self.failures += failed

    def roll(self, now: float, seconds: float) -> None:
        """Begin a new period if the current one is over."""
        elapsed = now - self.since
        if elapsed >= seconds:
            is_next = elapsed < 2 * seconds
            self.requests_before = self.requests if is_next else 0
            self.failures_before = self.failures if is_next else 0
            self.since, self.requests, self.failures = now, 0, 0

    @property
    def totals(self) -> tuple[int, int]:
        """Requests and failures."""
        return self.requests + self.requests_before, self.failures + self.failures_before
