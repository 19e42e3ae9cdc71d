"""Measurements are added up by series, and their number is bounded."""

from __future__ import annotations

import math

import pytest

from shared.adapters.monitor.measurements import Measurements
from shared.adapters.monitor.silent import SilentTelemetry
from shared.application.ports.telemetry import Telemetry
from shared.domain.telemetry import instruments
from shared.domain.telemetry.instruments import INSTRUMENTS, Instrument, InstrumentKind


def test_amounts_of_a_series_are_added() -> None:
    measured = Measurements(max_series=10)
    for tenant, amount in (("acme", 3), ("acme", 4), ("zeta", 1)):
        measured.add(instruments.TOKENS, amount, tenant, "chat", "input")
    assert measured.sums["gateway.tokens"] == {("acme", "chat", "input"): 7, ("zeta", "chat", "input"): 1}


def test_a_value_is_counted_in_the_one_bucket_that_ends_at_or_above_it() -> None:
    measured = Measurements(max_series=10)
    bounds = instruments.TTFB.bounds
    for value in (0, bounds[0], bounds[0] + 0.1, bounds[-1], bounds[-1] + 1):
        measured.record(instruments.TTFB, value, "chat", "east")
    counts = measured.distributions["gateway.ttfb.bucket"]["chat", "east"].counts
    assert (counts[0], counts[1], counts[-2], counts[-1], sum(counts)) == (2, 1, 1, 1, 5)


def test_a_histogram_keeps_sum_and_extremes() -> None:
    measured = Measurements(max_series=10)
    for seconds in (0.5, 0.25, 2.0):
        measured.record(instruments.OPERATION_DURATION, seconds, "chat", "gpt-4o", "")
    found = measured.distributions["gen_ai.client.operation.duration"]["chat", "gpt-4o", ""]
    assert (sum(found.counts), found.total, found.smallest, found.largest) == (3, 2.75, 0.25, 2.0)


def test_a_gauge_has_its_newest_value() -> None:
    measured = Measurements(max_series=10)
    for value in (3, 5):
        measured.set(instruments.RESERVATIONS_OPEN, value)
    assert measured.gauges["gateway.reservations.open"] == {(): 5}


def measure(telemetry: Telemetry, instrument: Instrument, *values: str) -> None:
    """Measure one thing with any instrument."""
    match instrument.kind:
        case InstrumentKind.SUM:
            telemetry.add(instrument, 1, *values)
        case InstrumentKind.GAUGE:
            telemetry.set(instrument, 1, *values)
        case _:
            telemetry.record(instrument, 1, *values)


@pytest.mark.parametrize("instrument", [each for each in INSTRUMENTS if each.dimensions], ids=lambda each: each.name)
def test_series_beyond_the_bound_are_added_up_as_others(instrument: Instrument) -> None:
    measured = Measurements(max_series=3)
    for number in range(100):
        open_ = [str(number) if name not in instruments.CLOSED else "closed" for name in instrument.dimensions]
        measure(measured, instrument, *open_)
    found = (measured.sums, measured.gauges, measured.distributions)
    (series,) = [set(each[instrument.name]) for each in found if instrument.name in each]
    others = tuple("closed" if name in instruments.CLOSED else "other" for name in instrument.dimensions)
    assert set(instrument.dimensions) <= instruments.CLOSED or others in series
    assert len(series) <= 4


def test_nothing_is_lost_beyond_the_bound() -> None:
    measured = Measurements(max_series=3)
    for number in range(100):
        measured.add(instruments.COST, 1, f"tenant-{number}", "chat")
        measured.add(instruments.COST, 1, "tenant-0", "chat")
    assert math.fsum(measured.sums["gateway.cost_usd"].values()) == 200
    assert measured.sums["gateway.cost_usd"]["tenant-0", "chat"] == 101


def test_ten_thousand_tenants_have_few_series_and_no_full_limit_hides_among_the_others() -> None:
    measured = Measurements(max_series=1000)
    for number in range(10_000):
        tenant, used = f"tenant-{number}", 0.99 if number == 7000 else 0.1
        for limit in ("tokens", "usd"):
            measured.set(instruments.QUOTA_UTILIZATION, used, tenant, limit)
        for type_ in ("input", "cached_input", "output"):
            measured.add(instruments.TOKENS, 1, tenant, "chat", type_)
        measured.add(instruments.REQUESTS, 1, tenant, "chat", "chat/completions", "200")
        measured.add(instruments.COST, 1, tenant, "chat")
    gauges = measured.gauges["gateway.quota.utilization"]
    assert gauges["other", "tokens"] == gauges["other", "usd"] == 0.99
    assert gauges["tenant-1", "usd"] == 0.1
    assert len(gauges) == 1002
    names = ("gateway.tokens", "gateway.requests", "gateway.cost_usd")
    assert [len(measured.sums[name]) for name in names] == [1003, 1001, 1001]
    assert [sum(measured.sums[name].values()) for name in names] == [30_000, 10_000, 10_000]
    measured.set(instruments.QUOTA_UTILIZATION, 0.05, "tenant-1", "usd")
    assert gauges["tenant-1", "usd"] == 0.05


async def test_a_process_that_exports_nothing_keeps_nothing() -> None:
    silent: Telemetry = SilentTelemetry()
    for instrument in INSTRUMENTS:
        measure(silent, instrument, *instrument.dimensions)
    await silent.flush()
    assert not hasattr(silent, "sums")
    assert set(vars(silent)) == set()


async def test_a_flush_adds_what_waits_to_be_added() -> None:
    measured = Measurements(max_series=10)
    measured.before_flush(lambda: measured.add(instruments.COST, 1, "acme", "chat"))
    await measured.flush()
    assert measured.is_exported
    assert measured.sums["gateway.cost_usd"] == {("acme", "chat"): 1}
