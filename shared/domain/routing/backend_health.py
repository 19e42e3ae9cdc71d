"""What one process knows of one backend: its breaker, its pace, and how much room it says it has.

Times are monotonic seconds. The breaker is *closed* while requests may go, *open* until a moment, and *half-open* from
then on: one request goes as a probe, and its end closes the breaker or opens it for longer. A backend that asked not
to be asked for a time (429) is believed: once that is over, its breaker is closed. Content-filter answers and errors
of the caller are answers: they never count against a backend.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from shared.domain.values import record

_SMOOTHING: Final = 0.2
_LEAST_SHARE: Final = 0.1
_HEADROOM_SECONDS: Final = 60.0
_HEADROOM_FRESH_SECONDS: Final = 0.25


class BreakerState(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@record
class BreakerPolicy:
    """When a breaker opens and for how long.

    It opens on so many failures one after the other, or on a share of the requests of a window if there were enough.
    Each probe that fails doubles the time; a refusal for now (429) opens it for the time it asks.
    """

    consecutive_failures: int = 3
    failure_share: float = 0.5
    window_requests: int = 20
    window_seconds: float = 30.0
    open_seconds: float = 5.0
    most_open_seconds: float = 60.0
    throttled_seconds: float = 1.0
    misconfigured_seconds: float = 60.0
    slow_start_seconds: float = 30.0
    last_resort_seconds: float = 1.0
    """How long after its last failure an open backend may be tried where nobody else is ready."""


@dataclass(slots=True, kw_only=True)
class _Window:
    """Requests and failures of about the last window: the current part of it and the one before."""

    since: float = -math.inf
    requests: int = 0
    failures: int = 0
    requests_before: int = 0
    failures_before: int = 0

    def count(self, now: float, seconds: float, *, failed: bool) -> None:
        self.turn(now, seconds)
        self.requests += 1
        self.failures += failed

    def turn(self, now: float, seconds: float) -> None:
        """Begin a new part if the current one is over."""
        elapsed = now - self.since
        if elapsed >= seconds:
            is_next = elapsed < 2 * seconds
            self.requests_before = self.requests if is_next else 0
            self.failures_before = self.failures if is_next else 0
            self.since, self.requests, self.failures = now, 0, 0

    @property
    def totals(self) -> tuple[int, int]:
        return self.requests + self.requests_before, self.failures + self.failures_before


@dataclass(slots=True)
class Transitions:
    """How often any breaker of this process opened, closed, or began or ended a probe."""

    count: int = 0


@dataclass(slots=True, eq=False)
class BackendHealth:
    """Changes only by its methods."""

    backend_id: str
    transitions: Transitions = field(default_factory=Transitions)
    policy: BreakerPolicy = field(default_factory=BreakerPolicy)
    most_at_once: int | None = None
    in_flight: int = 0
    open_until: float | None = None
    reason: str = ""
    is_probing: bool = False
    is_throttled: bool = False
    is_misconfigured: bool = False
    is_hinted: bool = False
    """Whether it is another process that found it down."""
    recovered_at: float = -math.inf
    last_answer_at: float = -math.inf
    latency_seconds: float | None = None
    """Smoothed time to the head of an answer."""
    held_seconds: float | None = None
    """Smoothed time for which a request occupies the backend."""
    remaining_requests: int | None = None
    remaining_tokens: int | None = None
    last_error: str = ""
    last_error_at: float | None = None
    requests: int = 0
    failures: int = 0
    _streak: int = 0
    _times_opened: int = 0
    _headroom_until: float = -math.inf
    _tried_at: float = -math.inf
    _window: _Window = field(default_factory=_Window)

    def state(self, now: float) -> BreakerState:
        if self.open_until is None:
            return BreakerState.CLOSED
        if now < self.open_until:
            return BreakerState.OPEN
        return BreakerState.CLOSED if self.is_throttled else BreakerState.HALF_OPEN

    def is_ready(self, now: float) -> bool:
        """Whether a request may go now: the breaker is closed, or half-open without a probe."""
        return self.open_until is None or (now >= self.open_until and not self.is_probing)

    def seconds_until_ready(self, now: float) -> float:
        """How long it will be open; 0 where a probe may tell at any moment that it is not."""
        return 0.0 if self.open_until is None or self.is_probing else max(0.0, self.open_until - now)

    def is_last_resort(self, now: float) -> bool:
        """Whether it may be tried although it is open, as nobody else is ready: seldom, one request at a time."""
        if self.open_until is None or self.is_throttled or self.is_probing:
            return False
        return now - self._tried_at >= self.policy.last_resort_seconds

    @property
    def is_full(self) -> bool:
        """Whether it has as many requests as it may have at once."""
        return self.most_at_once is not None and self.in_flight >= self.most_at_once

    def has_headroom(self, now: float, tokens: int) -> bool:
        """Whether its last answer left room for so many tokens. What it did not say, or long ago, is no obstacle."""
        if now >= self._headroom_until:
            return True
        if self.remaining_requests is not None and self.remaining_requests < 1:
            return False
        return self.remaining_tokens is None or self.remaining_tokens >= tokens

    def share(self, now: float, fastest_seconds: float | None) -> float:
        """Which part of its weight it gets: less than all while it is slower than others or has just recovered."""
        share = 1.0
        if fastest_seconds is not None and self.latency_seconds:
            share = min(1.0, fastest_seconds / self.latency_seconds)
        since = now - self.recovered_at
        if since < self.policy.slow_start_seconds:
            share *= since / self.policy.slow_start_seconds
        return max(_LEAST_SHARE, share)

    def started(self, now: float, tokens: int) -> bool:
        """A request of so many tokens goes to it, as it may; whether it is a probe."""
        self.in_flight += 1
        self.requests += 1
        if self.remaining_requests is not None:
            self.remaining_requests -= 1
        if self.remaining_tokens is not None:
            self.remaining_tokens -= tokens
        if self.open_until is None:
            return False
        if self.is_throttled:
            self.close(now)
            return False
        self.is_probing = True
        self.transitions.count += 1
        return True

    def finished(self, seconds: float) -> None:
        """A request no longer occupies it, after so many seconds."""
        self.in_flight -= 1
        self.held_seconds = _smoothed(self.held_seconds, seconds)

    def answered(self, now: float, seconds: float, *, is_probe: bool, is_stream: bool = False) -> None:
        """The head of an answer came after so many seconds, also one that tells a caller of its own mistake.

        Of a stream, its end tells whether that was a success.
        """
        self.last_answer_at = now
        self.latency_seconds = _smoothed(self.latency_seconds, seconds)
        if is_probe:
            self.is_probing = False
            self.close(now)
        if not is_stream:
            self.completed(now)

    def completed(self, now: float) -> None:
        """An answer came to its end."""
        self._streak = 0
        window = self._window
        if now - window.since >= self.policy.window_seconds:
            window.turn(now, self.policy.window_seconds)
        window.requests += 1

    def is_headroom_old(self, now: float) -> bool:
        """Whether what is known of its limits is worth reading again: what goes there meanwhile is subtracted."""
        return now >= self._headroom_until - _HEADROOM_SECONDS + _HEADROOM_FRESH_SECONDS

    def note_headroom(self, now: float, requests: int | None, tokens: int | None) -> None:
        """What its answer said is left of its limits; `None` where that is unknown."""
        self.remaining_requests, self.remaining_tokens = requests, tokens
        self._headroom_until = now + _HEADROOM_SECONDS

    def failed(self, now: float, error: str, *, is_probe: bool) -> None:
        """It could not be reached, broke, was silent too long, or answered 408 or 5xx."""
        self._note_error(now, error)
        self._streak += 1
        self._window.count(now, self.policy.window_seconds, failed=True)
        requests, failures = self._window.totals
        is_bad = requests >= self.policy.window_requests and failures >= self.policy.failure_share * requests
        if is_probe or (self.open_until is None and (is_bad or self._streak >= self.policy.consecutive_failures)):
            self._times_opened += 1
            self.is_throttled = False
            self._open(now, self._backed_off, error, is_probe=is_probe)

    def throttled(self, now: float, seconds: float | None, error: str, *, is_probe: bool) -> None:
        """It asked not to be asked for so many seconds, or for some time."""
        self._note_error(now, error)
        self.is_throttled = self.open_until is None or self.is_throttled
        self._open(now, self.policy.throttled_seconds if seconds is None else seconds, error, is_probe=is_probe)

    def misconfigured(self, now: float, error: str, *, is_probe: bool) -> None:
        """It refuses the gateway itself, which somebody must mend."""
        self._note_error(now, error)
        self.is_misconfigured, self.is_throttled = True, False
        self._open(now, self.policy.misconfigured_seconds, error, is_probe=is_probe)

    def gave_up(self, *, is_probe: bool) -> None:
        """A request ended without telling anything of the backend, so that another may be the probe."""
        if is_probe:
            self.is_probing = False
            self.transitions.count += 1

    def apply_hint(self, now: float, seconds: float, reason: str, *, seconds_ago: float) -> None:
        """Another process noted so many seconds ago that it is down for so many more, or up again.

        What is older than its last answer here is no news.
        """
        if seconds > 0 and self.open_until is None and self.last_answer_at < now - seconds_ago:
            self._open(now, seconds, reason, is_probe=False)
            self.is_hinted = True
        elif seconds <= 0 and self.is_hinted:
            self.close(now)

    def close(self, now: float) -> None:
        """Requests may go again, few at first if it was down. A probe that is under way stays one."""
        if self._times_opened:
            self.recovered_at = now
        self.open_until, self.reason = None, ""
        self.is_throttled = self.is_misconfigured = self.is_hinted = False
        self._streak = self._times_opened = 0
        self._window = _Window()
        self.transitions.count += 1

    def recent(self, now: float) -> tuple[int, int]:
        """Requests of about the last window, and how many of them failed."""
        self._window.turn(now, self.policy.window_seconds)
        return self._window.totals

    def _open(self, now: float, seconds: float, reason: str, *, is_probe: bool) -> None:
        if is_probe:
            self.is_probing = False
        self.is_hinted = False
        self.open_until = max(self.open_until or 0.0, now + seconds)
        self.reason = reason
        self._tried_at = now
        self.transitions.count += 1

    @property
    def _backed_off(self) -> float:
        return min(self.policy.most_open_seconds, self.policy.open_seconds * 2.0 ** min(16, self._times_opened - 1))

    def _note_error(self, now: float, error: str) -> None:
        self.failures += 1
        self.last_error, self.last_error_at = error, now


def _smoothed(known: float | None, new: float) -> float:
    return new if known is None else known + _SMOOTHING * (new - known)
