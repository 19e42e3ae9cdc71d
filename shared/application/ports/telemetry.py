"""Measurements that a monitor gets. Nothing is billed from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from shared.domain.telemetry.distribution import Distribution
from shared.domain.telemetry.instruments import Instrument
from shared.domain.telemetry.spans import Span


class Telemetry(Protocol):
    """Adds up measurements of this process. No call waits, raises, or takes memory without bound.

    Values of dimensions are stated in the order of the instrument. Call it on the event loop's thread only.
    """

    @property
    def is_exported(self) -> bool:
        """Tells whether anybody gets the measurements. If not, they need not be made."""
        ...

    def add(self, instrument: Instrument, amount: float, *values: str) -> None:
        """Add an amount to a sum."""
        ...

    def record(self, instrument: Instrument, value: float, *values: str) -> None:
        """Count a value in its bucket, or add it to a histogram, in the instrument's own unit.

        Buckets have bounds in milliseconds.
        """
        ...

    def merge(self, instrument: Instrument, distribution: Distribution, *values: str) -> None:
        """Record all values of a distribution, whose bounds are those of the instrument."""
        ...

    def set(self, instrument: Instrument, value: float, *values: str) -> None:
        """Set a gauge. Only timers do, because an instance of another kind may live on with an old value."""
        ...

    def trace(self, span: Span) -> None:
        """Export a span. Spans beyond what an exporter can take are dropped."""
        ...

    def before_flush(self, fold: Callable[[], None]) -> None:
        """Call `fold` when a flush begins, so that what waits to be added is exported, too."""
        ...

    async def flush(self) -> None:
        """Export what was measured. Call it after each run of a timer, because its instance may end then.

        Returns after a few seconds at the latest, also if the collector is silent. Never raises.
        """
        ...
