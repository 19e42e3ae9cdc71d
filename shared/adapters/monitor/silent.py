"""Telemetry of a process that exports nothing."""

from __future__ import annotations

from shared.domain.telemetry.instruments import Instrument


class SilentTelemetry:
    """Implements `Telemetry`: forgets everything."""

    def add(self, instrument: Instrument, amount: float, *values: str) -> None:
        """Forget an amount."""

    def record(self, instrument: Instrument, value: float, *values: str) -> None:
        """Forget a value."""

    def set(self, instrument: Instrument, value: float, *values: str) -> None:
        """Forget a value."""

    async def flush(self) -> None:
        """Export nothing."""
