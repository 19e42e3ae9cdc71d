"""Measure commits of the ledger, and tell of slow ones."""

from __future__ import annotations

import logging
from typing import Final

from shared.application.ports.telemetry import Telemetry
from shared.application.structured_log import TENANT, log_event
from shared.domain.telemetry.instruments import LEDGER_COMMIT

_SLOW_SECONDS: Final = 1.0


class WatchCommits:
    """Implements `CommitWatch`."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry

    def __call__(self, tenant_id: str, seconds: float, result: str) -> None:
        self._telemetry.record(LEDGER_COMMIT, seconds * 1000, result)
        if seconds >= _SLOW_SECONDS:
            fields: dict[str, str | int] = {TENANT: tenant_id, "gateway.result": result}
            fields["gateway.duration_ms"] = round(seconds * 1000)
            log_event(logging.WARNING, "gateway.ledger.slow_commit", fields)
