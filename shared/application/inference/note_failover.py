"""Tell that an attempt failed and that another backend is asked."""

from __future__ import annotations

import logging
from typing import Final

from shared.application.inference.book_answer import AttemptFailed
from shared.application.inference.resolved_request import ResolvedRequest
from shared.application.ports.telemetry import Telemetry
from shared.application.structured_log import BACKEND, ERROR, MESSAGE, REQUEST, TENANT, log_event
from shared.domain.routing.catalog import Backend
from shared.domain.telemetry.instruments import FAILOVERS

TO_BACKEND: Final = "gateway.to_backend"


class NoteFailover:
    """Counts failovers, and writes a line for each up to a bound."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def __call__(self, request: ResolvedRequest, failed: AttemptFailed, to: Backend) -> None:
        """Note that `to` is asked after an attempt failed."""
        facts = failed.attempt.reservation.attempt
        self._telemetry.add(FAILOVERS, 1, facts.backend, facts.region, failed.reason)
        fields = {
            REQUEST: request.call.request_id,
            TENANT: request.tenant.tenant_id,
            BACKEND: facts.backend,
            TO_BACKEND: to.backend_id,
            ERROR: failed.reason,
            MESSAGE: str(failed.error),
        }
        log_event(logging.WARNING, "gateway.failover", fields)
