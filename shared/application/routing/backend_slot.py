"""One place at a backend, held by one attempt. Its outcome tells the circuit breaker about the backend."""

from __future__ import annotations

import re
from collections.abc import Callable, Sized
from typing import Final

from shared.application.ports.clock import Clock
from shared.domain.routing.answer import Answer, Headers, Meaning
from shared.domain.routing.backend_health import BackendHealth
from shared.domain.routing.catalog import Backend

_LIMITS: Final = b"x-ratelimit-"
_COUNT: Final = re.compile(rb"\d{1,18}")


class BackendSlot:
    """A slot is judged once by the answer of its attempt, or marked failed, and released at the end.

    `on_change` is called when somebody in `waiting` may go ahead, or when a breaker has changed.
    """

    __slots__ = (
        "_after_release", "_clock", "_give_back", "_is_judged", "_on_change", "_seen", "_waiting", "backend", "health",
        "is_probe", "started_at",
    )  # fmt: skip

    def __init__(
        self,
        backend: Backend,
        health: BackendHealth,
        started_at: float,
        clock: Clock,
        waiting: Sized,
        on_change: Callable[[BackendHealth], None],
        give_back: Callable[[], None] | None = None,
        *,
        is_probe: bool,
    ) -> None:
        self.backend = backend
        self.health = health
        self.is_probe = is_probe
        self.started_at = started_at
        self._clock = clock
        self._waiting = waiting
        self._on_change = on_change
        self._give_back = give_back
        self._seen = health.transitions.count
        self._is_judged = False
        self._after_release: Callable[[], None] | None = None

    def judge(self, answer: Answer, headers: Headers, *, is_stream: bool = False) -> None:
        """Tell the breaker what the backend answered. Ignores an undecided answer. A stream is `completed` later."""
        meaning, now, health, is_probe = answer.meaning, self._clock.monotonic(), self.health, self.is_probe
        if meaning is Meaning.UNDECIDED:
            return
        if meaning is Meaning.THROTTLED:
            health.throttled(now, answer.retry_after_seconds, _reason(answer), is_probe=is_probe)
        elif meaning is Meaning.MISCONFIGURED:
            health.misconfigured(now, _reason(answer), is_probe=is_probe)
        elif meaning is Meaning.FAILED:
            health.failed(now, _reason(answer), is_probe=is_probe)
        else:
            if health.is_headroom_old(now):
                self._note_headroom(now, headers)
            health.answered(now, now - self.started_at, is_probe=is_probe, is_stream=is_stream)
        self._judged()

    def misconfigured(self, reason: str) -> None:
        """Open the breaker afterwards: another backend served the request that this one refused."""
        self.health.misconfigured(self._clock.monotonic(), reason, is_probe=False)
        self._on_change(self.health)

    def completed(self) -> None:
        """Note that a stream came to its end."""
        self.health.completed(self._clock.monotonic())

    def failed(self, reason: str) -> None:
        """Note that the backend could not be reached, was silent, or broke, also after its head had arrived."""
        self.health.failed(self._clock.monotonic(), reason, is_probe=self.is_probe and not self._is_judged)
        self._judged()

    def release(self) -> None:
        """Free the slot. An attempt that was never judged tells nothing about the backend."""
        if not self._is_judged:
            self.health.abandoned(is_probe=self.is_probe)
        health = self.health
        if health.max_concurrent_requests is None:
            health.in_flight -= 1
        else:
            health.finished(self._clock.monotonic() - self.started_at)
        if self._give_back is not None:
            self._give_back()
        if self._waiting or health.transitions.count != self._seen:
            self._on_change(health)
        if self._after_release is not None:
            self._after_release()

    def after_release(self, callback: Callable[[], None] | None) -> None:
        """Call `callback` when the slot is released."""
        self._after_release = callback

    def _judged(self) -> None:
        self._is_judged = True
        if self._waiting or self.health.transitions.count != self._seen:
            self._on_change(self.health)

    def _note_headroom(self, now: float, headers: Headers) -> None:
        """Note how much is left of the backend's rate limits. A limit of 0 means that it is unknown.

        https://learn.microsoft.com/azure/ai-services/openai/how-to/quota
        """
        stated = {name[12:]: text for name, text in headers if name.startswith(_LIMITS)}
        if stated:
            self.health.note_headroom(now, _left(stated, b"requests"), _left(stated, b"tokens"))


def _reason(answer: Answer) -> str:
    return f"status {answer.status}"


def _left(stated: dict[bytes, bytes], unit: bytes) -> int | None:
    remaining, limit = stated.get(b"remaining-" + unit, b""), stated.get(b"limit-" + unit, b"1")
    if not _COUNT.fullmatch(remaining) or not _COUNT.fullmatch(limit) or limit == b"0":
        return None
    return int(remaining)
