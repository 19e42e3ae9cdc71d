"""Measurements of one process, added up in dictionaries until an exporter asks for them."""

from __future__ import annotations

from bisect import bisect_left
from typing import TypeAlias

from shared.domain.telemetry.instruments import CLOSED, INSTRUMENTS, OTHER, Instrument, InstrumentKind

Values: TypeAlias = tuple[str, ...]
"""Values of an instrument's dimensions."""


class Distribution:
    """Values of one series: counted by bucket, and for histograms their sum, least and most."""

    __slots__ = ("counts", "largest", "smallest", "total")

    def __init__(self, buckets: int) -> None:
        self.counts = [0] * buckets
        self.total = 0.0
        self.smallest = float("inf")
        self.largest = float("-inf")


class Measurements:
    """Implements `Telemetry` without exporting.

    An instrument has at most `max_series` series. Further ones are added to one whose open dimensions are `other`.
    Only the event loop's thread writes. A thread that exports may read, because it copies each dictionary at once.
    """

    def __init__(self, max_series: int) -> None:
        self._max_series = max_series
        self.sums: dict[str, dict[Values, float]] = {name: {} for name in _names(InstrumentKind.SUM)}
        self.gauges: dict[str, dict[Values, float]] = {name: {} for name in _names(InstrumentKind.GAUGE)}
        self.distributions: dict[str, dict[Values, Distribution]] = {
            name: {} for name in _names(InstrumentKind.BUCKETS, InstrumentKind.HISTOGRAM)
        }

    def add(self, instrument: Instrument, amount: float, *values: str) -> None:
        series = self.sums[instrument.name]
        if values in series:
            series[values] += amount
        else:
            values = self._bounded(instrument, len(series), values)
            series[values] = series.get(values, 0) + amount

    def record(self, instrument: Instrument, value: float, *values: str) -> None:
        series = self.distributions[instrument.name]
        found = series.get(values)
        if found is None:
            values = self._bounded(instrument, len(series), values)
            found = series.setdefault(values, Distribution(len(instrument.bounds) + 1))
        found.counts[bisect_left(instrument.bounds, value)] += 1
        if instrument.kind is InstrumentKind.HISTOGRAM:
            found.total += value
            found.smallest = min(found.smallest, value)
            found.largest = max(found.largest, value)

    def set(self, instrument: Instrument, value: float, *values: str) -> None:
        series = self.gauges[instrument.name]
        if values not in series:
            values = self._bounded(instrument, len(series), values)
        series[values] = value

    async def flush(self) -> None:
        """Do nothing: nobody exports."""

    def _bounded(self, instrument: Instrument, known: int, values: Values) -> Values:
        """Return the values of a new series, or those of the series for all others."""
        if known < self._max_series:
            return values
        return tuple(
            value if name in CLOSED else OTHER for name, value in zip(instrument.dimensions, values, strict=True)
        )


def _names(*kinds: InstrumentKind) -> list[str]:
    return [instrument.name for instrument in INSTRUMENTS if instrument.kind in kinds]
