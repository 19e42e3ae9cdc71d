"""Measurements of one process, added up in dictionaries until an exporter asks for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from shared.domain.telemetry.distribution import Distribution
from shared.domain.telemetry.instruments import CLOSED, INSTRUMENTS, OTHER, Instrument, InstrumentKind
from shared.domain.telemetry.spans import Span

Values: TypeAlias = tuple[str, ...]
"""Values of an instrument's dimensions."""


class Measurements:
    """Implements `Telemetry` without exporting.

    An instrument has at most `max_series` series. Further ones are added to one whose open dimensions are `other`;
    of gauges it has the largest, so that a limit which is used up does not hide behind others.
    Only the event loop's thread writes. A thread that exports may read, because it copies each dictionary at once.
    """

    def __init__(self, max_series: int) -> None:
        self._max_series = max_series
        self._folds: list[Callable[[], None]] = []
        self.sums: dict[str, dict[Values, float]] = {name: {} for name in _names(InstrumentKind.SUM)}
        self.gauges: dict[str, dict[Values, float]] = {name: {} for name in _names(InstrumentKind.GAUGE)}
        self.distributions: dict[str, dict[Values, Distribution]] = {
            name: {} for name in _names(InstrumentKind.BUCKETS, InstrumentKind.HISTOGRAM)
        }

    @property
    def is_exported(self) -> bool:
        return True

    def add(self, instrument: Instrument, amount: float, *values: str) -> None:
        series = self.sums[instrument.name]
        if values in series:
            series[values] += amount
        else:
            values = self._bounded(instrument, len(series), values)
            series[values] = series.get(values, 0) + amount

    def record(self, instrument: Instrument, value: float, *values: str) -> None:
        self._distribution(instrument, values).add(value)

    def merge(self, instrument: Instrument, distribution: Distribution, *values: str) -> None:
        if any(distribution.counts):
            self._distribution(instrument, values).merge(distribution)

    def set(self, instrument: Instrument, value: float, *values: str) -> None:
        series = self.gauges[instrument.name]
        bounded = values if values in series else self._bounded(instrument, len(series), values)
        is_shared = bounded != values
        series[bounded] = max(value, series.get(bounded, value)) if is_shared else value

    def trace(self, span: Span) -> None:
        """Forget a span: nobody exports."""

    def before_flush(self, fold: Callable[[], None]) -> None:
        self._folds.append(fold)

    async def flush(self) -> None:
        """Fold what waits; nobody exports."""
        self.fold()

    def fold(self) -> None:
        """Add what waits to be added."""
        for fold in self._folds:
            fold()

    def _distribution(self, instrument: Instrument, values: Values) -> Distribution:
        series = self.distributions[instrument.name]
        found = series.get(values)
        if found is None:
            values = self._bounded(instrument, len(series), values)
            found = series.setdefault(values, Distribution(instrument.bounds))
        return found

    def _bounded(self, instrument: Instrument, known: int, values: Values) -> Values:
        """Return the values of a new series, or those of the series for all others."""
        if known < self._max_series:
            return values
        return tuple(
            value if name in CLOSED else OTHER for name, value in zip(instrument.dimensions, values, strict=True)
        )


def _names(*kinds: InstrumentKind) -> list[str]:
    return [instrument.name for instrument in INSTRUMENTS if instrument.kind in kinds]
