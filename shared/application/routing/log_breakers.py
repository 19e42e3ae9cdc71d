"""Write a log line when a circuit breaker opens or closes."""

from __future__ import annotations

import logging

from shared.application.structured_log import BACKEND, MESSAGE, STATE, log_event
from shared.domain.routing.backend_health import BackendHealth


class BreakerLog:
    """Knows which breakers are open. One that only stays open longer has no line."""

    def __init__(self) -> None:
        self._open: set[str] = set()

    def __call__(self, health: BackendHealth) -> None:
        """Write the change of a breaker. The request that caused it is the one that is being served."""
        name = health.backend_id
        if health.open_until is not None and name not in self._open:
            self._open.add(name)
            log_event(
                logging.WARNING, "gateway.breaker.changed", {BACKEND: name, STATE: "open", MESSAGE: health.reason}
            )
        elif health.open_until is None and name in self._open:
            self._open.remove(name)
            log_event(logging.INFO, "gateway.breaker.changed", {BACKEND: name, STATE: "closed"})
