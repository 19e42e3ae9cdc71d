"""Samples: amounts that were measured since they were last exported."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import TypeAlias

from shared.adapters.monitor.measurements import Measurements, Values
from shared.domain.telemetry.distribution import Distribution
from shared.domain.telemetry.instruments import INSTRUMENTS, Instrument, InstrumentKind
from shared.domain.values import record

_Key: TypeAlias = tuple[str, Values]


@record
class Sample:
    """The amount of one series since the last export, or the value of a gauge."""

    instrument: Instrument
    values: Values
    """Values of the exported dimensions."""
    amount: float
    distribution: Distribution | None = None
    """Set for a histogram."""


class Samples:
    """Takes what has changed. Amounts whose export failed are part of the next one, so that none is lost.

    Memory is bounded by the series of the measurements.
    """

    def __init__(self, measured: Measurements) -> None:
        self._measured = measured
        self._exported: dict[_Key, float] = {}
        self._exported_counts: dict[_Key, Distribution] = {}

    def take(self) -> list[Sample]:
        """Return what has changed since it was confirmed. Gauges are taken out."""
        return [sample for instrument in INSTRUMENTS for sample in self._changed(instrument)]

    def confirm(self, samples: list[Sample]) -> None:
        """Note that these need not be exported again."""
        for sample in samples:
            key = (sample.instrument.name, sample.values)
            if sample.distribution is not None:
                self._exported_counts.setdefault(key, Distribution(sample.instrument.bounds)).merge(sample.distribution)
            elif sample.instrument.kind is not InstrumentKind.GAUGE:
                self._exported[key] = self._exported.get(key, 0) + sample.amount

    def put_back(self, samples: list[Sample]) -> None:
        """Keep the gauges of a failed export, unless they have newer values, and the extremes of its histograms."""
        for sample in samples:
            if sample.distribution is not None:
                found = self._measured.distributions[sample.instrument.name][sample.values]
                found.smallest = min(found.smallest, sample.distribution.smallest)
                found.largest = max(found.largest, sample.distribution.largest)
            elif sample.instrument.kind is InstrumentKind.GAUGE:
                self._measured.gauges[sample.instrument.name].setdefault(sample.values, sample.amount)

    def _changed(self, instrument: Instrument) -> Iterator[Sample]:
        match instrument.kind:
            case InstrumentKind.SUM:
                return self._sums(instrument)
            case InstrumentKind.BUCKETS:
                return self._buckets(instrument)
            case InstrumentKind.HISTOGRAM:
                return self._histograms(instrument)
        return self._gauges(instrument)

    def _sums(self, instrument: Instrument) -> Iterator[Sample]:
        for values, total in list(self._measured.sums[instrument.name].items()):
            amount = total - self._exported.get((instrument.name, values), 0)
            if amount:
                yield Sample(instrument=instrument, values=values, amount=amount)

    def _gauges(self, instrument: Instrument) -> Iterator[Sample]:
        series = self._measured.gauges[instrument.name]
        for values in list(series):
            yield Sample(instrument=instrument, values=values, amount=series.pop(values))

    def _buckets(self, instrument: Instrument) -> Iterator[Sample]:
        bounds = [*map("{:g}".format, instrument.bounds), "+Inf"]
        for values, found in list(self._measured.distributions[instrument.name].items()):
            for bound, count in zip(bounds, list(found.counts), strict=True):
                key = (*values, bound)
                amount = count - self._exported.get((instrument.name, key), 0)
                if amount:
                    yield Sample(instrument=instrument, values=key, amount=amount)

    def _histograms(self, instrument: Instrument) -> Iterator[Sample]:
        for values, found in list(self._measured.distributions[instrument.name].items()):
            known = self._exported_counts.get((instrument.name, values)) or Distribution(instrument.bounds)
            new = Distribution(instrument.bounds)
            new.counts = [count - before for count, before in zip(list(found.counts), known.counts, strict=True)]
            if any(new.counts):
                new.total = found.total - known.total
                mean = new.total / sum(new.counts)  # in place of extremes that a request has not yet noted
                new.smallest, new.largest = min(found.smallest, mean), max(found.largest, mean)
                found.smallest, found.largest = inf, -inf
                yield Sample(instrument=instrument, values=values, amount=sum(new.counts), distribution=new)
