"""A backend that one attempt may use, and what its use tells of the backend."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence, Sized
from email.utils import parsedate_to_datetime
from typing import Final

from shared.application.ports.clock import Clock
from shared.domain.routing.backend_health import BackendHealth
from shared.domain.routing.catalog import Backend

_MISCONFIGURED: Final = frozenset({401, 403})
_SERVER_ERROR: Final = 500
_LIMITS: Final = b"x-ratelimit-"
_COUNT: Final = re.compile(rb"\d{1,18}")
_NUMBER: Final = re.compile(rb"\d+(\.\d+)?")
_LONGEST_SECONDS: Final = 86_400.0


class Lease:
    """One of its verdicts is to be called once the attempt has an answer or none, and `release` at its end.

    `moved` is called after whatever may let others go ahead, if there are any `waiting` or a breaker has moved.
    """

    __slots__ = (
        "_clock", "_is_judged", "_moved", "_seen", "_then", "_waiting", "backend", "health", "is_probe", "started_at"
    )  # fmt: skip

    def __init__(
        self,
        backend: Backend,
        health: BackendHealth,
        started_at: float,
        clock: Clock,
        waiting: Sized,
        moved: Callable[[BackendHealth], None],
        *,
        is_probe: bool,
    ) -> None:
        self.backend = backend
        self.health = health
        self.is_probe = is_probe
        self.started_at = started_at
        self._clock = clock
        self._waiting = waiting
        self._moved = moved
        self._seen = health.transitions.count
        self._is_judged = False
        self._then: Callable[[], None] | None = None

    def judge(
        self,
        status: int,
        headers: Sequence[tuple[bytes, bytes]],
        *,
        is_stream: bool = False,
        lacks_deployment: bool = False,
    ) -> None:
        """The head of an answer has come. Names of headers are in lower case. A stream is to be `completed`.

        `lacks_deployment` tells a 404 of the backend's from one that tells a caller of its own mistake.
        """
        now, health, is_probe = self._clock.monotonic(), self.health, self.is_probe
        error = f"status {status}"
        if status == 429 or (status == 503 and retry_after(headers) is not None):
            health.throttled(now, retry_after(headers), error, is_probe=is_probe)
        elif status in _MISCONFIGURED or lacks_deployment:
            health.misconfigured(now, error, is_probe=is_probe)
        elif status == 408 or status >= _SERVER_ERROR:
            health.failed(now, error, is_probe=is_probe)
        else:
            if health.is_room_old(now):
                self._note_room(now, headers)
            health.answered(now, now - self.started_at, is_probe=is_probe, is_stream=is_stream)
        self._judged()

    def misconfigured(self, error: str) -> None:
        """Another backend served what this one refused: it is not the caller who is mistaken."""
        self.health.misconfigured(self._clock.monotonic(), error, is_probe=False)
        self._moved(self.health)

    def completed(self) -> None:
        """A stream came to its end."""
        self.health.completed(self._clock.monotonic())

    def failed(self, error: str) -> None:
        """It could not be reached, was silent, or broke: also after its head had come."""
        self.health.failed(self._clock.monotonic(), error, is_probe=self.is_probe and not self._is_judged)
        self._judged()

    def release(self) -> None:
        """The attempt no longer occupies the backend, whatever became of it."""
        if not self._is_judged:
            self.health.gave_up(is_probe=self.is_probe)
        health = self.health
        if health.most_at_once is None:
            health.in_flight -= 1
        else:
            health.finished(self._clock.monotonic() - self.started_at)
        if self._waiting or health.transitions.count != self._seen:
            self._moved(health)
        if self._then is not None:
            self._then()

    def before(self, then: Callable[[], None] | None) -> None:
        """Call something more at the release."""
        self._then = then

    def _judged(self) -> None:
        self._is_judged = True
        if self._waiting or self.health.transitions.count != self._seen:
            self._moved(self.health)

    def _note_room(self, now: float, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """What is left of the backend's limits. A limit of nothing means that it is not known.

        https://learn.microsoft.com/azure/ai-services/openai/how-to/quota
        """
        stated = {name[12:]: text for name, text in headers if name.startswith(_LIMITS)}
        if stated:
            self.health.note_room(now, _left(stated, b"requests"), _left(stated, b"tokens"))


def _left(stated: dict[bytes, bytes], unit: bytes) -> int | None:
    remaining, limit = stated.get(b"remaining-" + unit, b""), stated.get(b"limit-" + unit, b"1")
    if not _COUNT.fullmatch(remaining) or not _COUNT.fullmatch(limit) or limit == b"0":
        return None
    return int(remaining)


def retry_after(headers: Sequence[tuple[bytes, bytes]]) -> float | None:
    """Seconds until a backend wants to be asked again, a day at most: `retry-after-ms`, or else `retry-after`.

    A date is taken by the clock of the backend's own `date`: https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
    """
    stated = dict(headers)
    for name, unit in ((b"retry-after-ms", 1000), (b"retry-after", 1)):
        text = stated.get(name, b"")
        if _NUMBER.fullmatch(text):
            return min(float(text) / unit, _LONGEST_SECONDS)
    if b"retry-after" not in stated:
        return None
    try:
        until, now = (parsedate_to_datetime(stated[name].decode("latin-1")) for name in (b"retry-after", b"date"))
    except (ValueError, KeyError):
        return None
    return min(max(0.0, until.timestamp() - now.timestamp()), _LONGEST_SECONDS)
