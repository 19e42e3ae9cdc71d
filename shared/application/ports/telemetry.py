"""Measurements that a monitor gets. Nothing is billed from them."""

from __future__ import annotations

from typing import Protocol

from shared.domain.telemetry.instruments import Instrument


class Telemetry(Protocol):
    """Adds up measurements of this process. No call waits, raises, or takes memory without bound.

    Values of dimensions are stated in the order of the instrument. Call it on the event loop's thread only.
    """

    def add(self, instrument: Instrument, amount: float, *values: str) -> None:
        """Add an amount to a sum."""
        ...

    def record(self, instrument: Instrument, value: float, *values: str) -> None:
        """Count a value in its bucket, or add it to a histogram, in the instrument's own unit.

        Buckets have bounds in milliseconds.
        """
        ...

    def set(self, instrument: Instrument, value: float, *values: str) -> None:
        """Set a gauge. Only timers do, because an instance of another kind may live on with an old value."""
        ...

    async def flush(self) -> None:
        """Export what was measured. Call it after each run of a timer, because its instance may end then.

        Returns after a few seconds at the latest, also if the collector is silent. Never raises.
        """
        ...
