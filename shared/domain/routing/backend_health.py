"""Health of one backend as one process knows it: circuit breaker, latency, and headroom of its rate limits.

Times are monotonic seconds. A breaker has three states:

- *closed*: requests may be sent.
- *open*: no request is sent until a certain time.
- *half-open*: that time is over, and one request is sent as a probe. Its result closes the breaker or opens it longer.

After a 429 the breaker needs no probe, because the backend itself stated the time of its return (ADR 20).
Answers of the content filter and the caller's own errors are answers: they never count as failures of a backend.

Source: https://learn.microsoft.com/azure/architecture/patterns/circuit-breaker
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from shared.domain.routing.failure_window import FailureWindow
from shared.domain.routing.transitions import Transitions
from shared.domain.values import record

_SMOOTHING: Final = 0.2
"""Weight of a new value in an exponential moving average."""
_MIN_SHARE: Final = 0.1
_HEADROOM_SECONDS: Final = 60.0
"""A stated headroom is trusted for this long: the limits of backends are per minute."""
_HEADROOM_FRESH_SECONDS: Final = 0.25


class BreakerState(StrEnum):
    """The state of a circuit breaker."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


@record
class BreakerPolicy:
    """Conditions under which a breaker opens, and the time for which it stays open.

    - It opens after `consecutive_failures`.
    - It opens if `failure_share` of a window's requests failed and the window has at least `window_requests`.
    - It stays open for `open_seconds`. Each probe that fails doubles the time, up to `max_open_seconds`.
    - A 429 opens it for the time that the backend states, else for `throttled_seconds`.
    """

    consecutive_failures: int = 3
    failure_share: float = 0.5
    window_requests: int = 20
    window_seconds: float = 30.0
    open_seconds: float = 5.0
    max_open_seconds: float = 60.0
    throttled_seconds: float = 1.0
    misconfigured_seconds: float = 60.0
    slow_start_seconds: float = 30.0
    last_resort_seconds: float = 1.0
    """Time after the last failure until an open backend may be tried, if no other is ready (ADR 20)."""


@dataclass(slots=True, eq=False)
class BackendHealth:
    """The health of one backend. Only its methods change it, but for `max_concurrent_requests`, which is configured."""

    backend_id: str
    transitions: Transitions = field(default_factory=Transitions)
    policy: BreakerPolicy = field(default_factory=BreakerPolicy)
    max_concurrent_requests: int | None = None
    in_flight: int = 0
    open_until: float | None = None
    reason: str = ""
    is_probing: bool = False
    is_throttled: bool = False
    is_misconfigured: bool = False
    is_hinted: bool = False
    """The breaker is open because of another process's hint."""
    recovered_at: float = -math.inf
    last_answer_at: float = -math.inf
    latency_seconds: float | None = None
    """Moving average of the time to the head of an answer."""
    held_seconds: float | None = None
    """Moving average of the time for which a request occupies the backend."""
    remaining_requests: int | None = None
    remaining_tokens: int | None = None
    last_error: str = ""
    last_error_at: float | None = None
    requests: int = 0
    failures: int = 0
    _consecutive_failures: int = 0
    _times_opened: int = 0
    _headroom_until: float = -math.inf
    _last_opened_at: float = -math.inf
    _window: FailureWindow = field(default_factory=FailureWindow)

    def state(self, now: float) -> BreakerState:
        """Return the state of the breaker."""
        if self.open_until is None:
            return BreakerState.CLOSED
        if now < self.open_until:
            return BreakerState.OPEN
        return BreakerState.CLOSED if self.is_throttled else BreakerState.HALF_OPEN

    def is_ready(self, now: float) -> bool:
        """Tell whether a request may be sent now: the breaker is closed, or half-open without a probe."""
        return self.open_until is None or (now >= self.open_until and not self.is_probing)

    def seconds_until_ready(self, now: float) -> float:
        """Return the time until the breaker is no longer open; 0 during a probe, which may close it at any moment."""
        return 0.0 if self.open_until is None or self.is_probing else max(0.0, self.open_until - now)

    def is_last_resort(self, now: float) -> bool:
        """Tell whether an open backend may be tried because no other is ready: seldom, and one request at a time."""
        if self.open_until is None or self.is_throttled or self.is_probing:
            return False
        return now - self._last_opened_at >= self.policy.last_resort_seconds

    @property
    def is_full(self) -> bool:
        """The backend has as many requests as it may have at the same time."""
        return self.max_concurrent_requests is not None and self.in_flight >= self.max_concurrent_requests

    def has_headroom(self, now: float, tokens: int) -> bool:
        """Tell whether the rate limits that the backend last stated allow a request of `tokens` tokens.

        A limit that it did not state, or stated over a minute ago, is no obstacle.
        """
        if now >= self._headroom_until:
            return True
        if self.remaining_requests is not None and self.remaining_requests < 1:
            return False
        return self.remaining_tokens is None or self.remaining_tokens >= tokens

    def share(self, now: float, fastest_seconds: float | None) -> float:
        """Return the part of its weight that applies now, from 0.1 to 1.

        It is lower while the backend is slower than the fastest of its tier, and after a recovery.
        """
        share = 1.0
        if fastest_seconds is not None and self.latency_seconds:
            share = min(1.0, fastest_seconds / self.latency_seconds)
        since = now - self.recovered_at
        if since < self.policy.slow_start_seconds:
            share *= since / self.policy.slow_start_seconds
        return max(_MIN_SHARE, share)

    def started(self, now: float, tokens: int) -> bool:
        """Note that a request of `tokens` tokens is sent. Returns `True` if the request is a probe.

        The caller has checked that the backend may get a request.
        """
        self.in_flight += 1
        self.requests += 1
        if self.remaining_requests is not None:
            self.remaining_requests -= 1
        if self.remaining_tokens is not None:
            self.remaining_tokens -= tokens
        if self.open_until is None:
            return False
        if self.is_throttled:  # the backend itself stated that it is ready now, so no probe is needed
            self.close(now)
            return False
        self.is_probing = True
        self.transitions.count += 1
        return True

    def finished(self, seconds: float) -> None:
        """Note that a request ended, which occupied the backend for `seconds`."""
        self.in_flight -= 1
        self.held_seconds = _smoothed(self.held_seconds, seconds)

    def answered(self, now: float, seconds: float, *, is_probe: bool, is_stream: bool = False) -> None:
        """Note that the head of an answer arrived after `seconds`. An answer to the caller's own error counts, too.

        A stream counts as completed only at its end: the caller then calls `completed`.
        """
        self.last_answer_at = now
        self.latency_seconds = _smoothed(self.latency_seconds, seconds)
        if is_probe:
            self.is_probing = False
            self.close(now)
        if not is_stream:
            self.completed(now)

    def completed(self, now: float) -> None:
        """Note that an answer came to its end."""
        self._consecutive_failures = 0
        window = self._window
        if now - window.since >= self.policy.window_seconds:
            window.roll(now, self.policy.window_seconds)
        window.requests += 1

    def is_headroom_old(self, now: float) -> bool:
        """Tell whether the headroom should be read from the next answer.

        It need not be read from every answer, because `started` subtracts each request.
        """
        return now >= self._headroom_until - _HEADROOM_SECONDS + _HEADROOM_FRESH_SECONDS

    def note_headroom(self, now: float, requests: int | None, tokens: int | None) -> None:
        """Note the rest of the rate limits that an answer stated; `None` for a limit that is unknown."""
        self.remaining_requests, self.remaining_tokens = requests, tokens
        self._headroom_until = now + _HEADROOM_SECONDS

    def failed(self, now: float, error: str, *, is_probe: bool) -> None:
        """Note a failure: the backend could not be reached, broke, was silent too long, or answered 408 or 5xx."""
        self._note_error(now, error)
        self._consecutive_failures += 1
        self._window.count(now, self.policy.window_seconds, failed=True)
        if is_probe or (self.open_until is None and self._is_failing):
            self._times_opened += 1
            self.is_throttled = False
            self._open(now, self._backoff_seconds, error, is_probe=is_probe)

    def throttled(self, now: float, seconds: float | None, error: str, *, is_probe: bool) -> None:
        """Note that the backend refuses requests for `seconds`; `None` if it did not state a time."""
        self._note_error(now, error)
        self.is_throttled = self.open_until is None or self.is_throttled  # after failures a probe is still needed
        self._open(now, self.policy.throttled_seconds if seconds is None else seconds, error, is_probe=is_probe)

    def misconfigured(self, now: float, error: str, *, is_probe: bool) -> None:
        """Note that the backend refuses the gateway itself. An operator must act."""
        self._note_error(now, error)
        self.is_misconfigured, self.is_throttled = True, False
        self._open(now, self.policy.misconfigured_seconds, error, is_probe=is_probe)

    def abandoned(self, *, is_probe: bool) -> None:
        """Note that a request ended without a result. If it was the probe, the next request is the probe."""
        if is_probe:
            self.is_probing = False
            self.transitions.count += 1

    def apply_hint(self, now: float, seconds: float, reason: str, *, seconds_ago: float) -> None:
        """Apply a hint of another process: the backend is down for `seconds`, or up again if that is not positive.

        A hint that it is down is ignored if it was noted before the last answer to this process.
        """
        if seconds > 0 and self.open_until is None and self.last_answer_at < now - seconds_ago:
            self._open(now, seconds, reason, is_probe=False)
            self.is_hinted = True
        elif seconds <= 0 and self.is_hinted:
            self.close(now)

    def close(self, now: float) -> None:
        """Close the breaker. After a failure the weight rises slowly. A probe that is under way stays the probe."""
        if self._times_opened:
            self.recovered_at = now
        self.open_until, self.reason = None, ""
        self.is_throttled = self.is_misconfigured = self.is_hinted = False
        self._consecutive_failures = self._times_opened = 0
        self._window = FailureWindow()
        self.transitions.opened_or_closed(self)

    def recent(self, now: float) -> tuple[int, int]:
        """Return the number of requests in about the last window, and the number of failures among them."""
        self._window.roll(now, self.policy.window_seconds)
        return self._window.totals

    def _open(self, now: float, seconds: float, reason: str, *, is_probe: bool) -> None:
        if is_probe:
            self.is_probing = False
        self.is_hinted = False
        self.open_until = max(self.open_until or 0.0, now + seconds)
        self.reason = reason
        self._last_opened_at = now
        self.transitions.opened_or_closed(self)

    @property
    def _is_failing(self) -> bool:
        """The failures suffice to open the breaker."""
        requests, failures = self._window.totals
        has_high_share = requests >= self.policy.window_requests and failures >= self.policy.failure_share * requests
        return has_high_share or self._consecutive_failures >= self.policy.consecutive_failures

    @property
    def _backoff_seconds(self) -> float:
        return min(self.policy.max_open_seconds, self.policy.open_seconds * 2.0 ** min(16, self._times_opened - 1))

    def _note_error(self, now: float, error: str) -> None:
        self.failures += 1
        self.last_error, self.last_error_at = error, now


def _smoothed(known: float | None, new: float) -> float:
    return new if known is None else known + _SMOOTHING * (new - known)
