"""Telemetry of a process that exports nothing."""

from __future__ import annotations

from collections.abc import Callable

from shared.domain.telemetry.distribution import Distribution
from shared.domain.telemetry.instruments import Instrument
from shared.domain.telemetry.spans import Span


class SilentTelemetry:
    """Implements `Telemetry`: forgets everything."""

    @property
    def is_exported(self) -> bool:
        return False

    def add(self, instrument: Instrument, amount: float, *values: str) -> None:
        """Forget an amount."""

    def record(self, instrument: Instrument, value: float, *values: str) -> None:
        """Forget a value."""

    def merge(self, instrument: Instrument, distribution: Distribution, *values: str) -> None:
        """Forget values."""

    def set(self, instrument: Instrument, value: float, *values: str) -> None:
        """Forget a value."""

    def trace(self, span: Span) -> None:
        """Forget a span."""

    def before_flush(self, fold: Callable[[], None]) -> None:
        """Do nothing: nothing is flushed."""

    async def flush(self) -> None:
        """Export nothing."""
