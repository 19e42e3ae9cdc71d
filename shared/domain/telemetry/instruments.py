"""All instruments: their names, units and dimensions. This is the one table of them.

Names of OpenTelemetry's conventions for generative AI are literals here, because those conventions still change:
https://opentelemetry.io/docs/specs/semconv/gen-ai/gen-ai-metrics/
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from shared.domain.values import record

OTHER: Final = "other"
"""The value of dimensions beyond the largest number of series."""
LE: Final = "le"
"""The dimension of buckets: the largest value that the bucket counts, or `+Inf`."""
CLOSED: Final = frozenset({LE, "type", "limit", "sink", "state", "source", "result", "timer"})
"""Dimensions whose values the gateway itself chooses. They stay as they are where others become `other`."""


class InstrumentKind(StrEnum):
    """The ways in which an instrument adds up its values."""

    SUM = "sum"
    """Amounts are added. What is exported is the amount since the last export."""
    BUCKETS = "buckets"
    """Values are counted by bucket, each in one bucket only. It is exported as a sum with the dimension `le`."""
    HISTOGRAM = "histogram"
    GAUGE = "gauge"
    """The newest value. Only timers set gauges, because their instances are few."""


@record
class Instrument:
    """One instrument. Values of its dimensions are stated in this order."""

    name: str
    kind: InstrumentKind
    unit: str
    """A unit of UCUM: https://ucum.org/ucum."""
    dimensions: tuple[str, ...]
    description: str
    bounds: tuple[float, ...] = ()
    """The upper bounds of buckets, each included in its bucket."""

    @property
    def exported_dimensions(self) -> tuple[str, ...]:
        """The dimensions of what is exported."""
        return (*self.dimensions, LE) if self.kind is InstrumentKind.BUCKETS else self.dimensions


def _sum(name: str, unit: str, dimensions: tuple[str, ...], description: str) -> Instrument:
    return Instrument(name=name, kind=InstrumentKind.SUM, unit=unit, dimensions=dimensions, description=description)


def _gauge(name: str, unit: str, dimensions: tuple[str, ...], description: str) -> Instrument:
    return Instrument(name=name, kind=InstrumentKind.GAUGE, unit=unit, dimensions=dimensions, description=description)


def _buckets(
    name: str, unit: str, dimensions: tuple[str, ...], bounds_ms: tuple[float, ...], description: str
) -> Instrument:
    return Instrument(
        name=name,
        kind=InstrumentKind.BUCKETS,
        unit=unit,
        dimensions=dimensions,
        description=description,
        bounds=bounds_ms,
    )


REQUESTS: Final = _sum(
    "gateway.requests",
    "{request}",
    ("tenant", "deployment", "operation", "status"),
    "Requests that were answered, by the status that the caller got.",
)
TOKENS: Final = _sum(
    "gateway.tokens",
    "{token}",
    ("tenant", "deployment", "type"),
    "Tokens that attempts used. The type is `input`, `cached_input` or `output`; each token has one type.",
)
COST: Final = _sum("gateway.cost_usd", "USD", ("tenant", "deployment"), "Cost of attempts. Nothing is billed from it.")
REFUSALS: Final = _sum(
    "gateway.refusals",
    "{request}",
    ("reason", "status", "deployment"),
    "Requests that were answered with an error of the gateway. The reason is its code.",
)
UPSTREAM_RESPONSES: Final = _sum(
    "gateway.upstream.responses",
    "{response}",
    ("backend", "region", "deployment", "status"),
    "Answers of backends, one for each attempt. The status is 0 if no answer began.",
)
FAILOVERS: Final = _sum(
    "gateway.failovers",
    "{attempt}",
    ("backend", "region", "reason"),
    "Attempts that another backend repeated. The backend is the one that failed.",
)
SPILLOVERS: Final = _sum(
    "gateway.spillovers", "{attempt}", ("backend", "region"), "Attempts that Azure's own spillover served."
)
CONTENT_FILTER: Final = _sum(
    "gateway.content_filter",
    "{request}",
    ("deployment", "source"),
    "Attempts with a filtered or detected category. The source is `prompt` or `completion`.",
)
TTFB: Final = _buckets(
    "gateway.ttfb.bucket",
    "{request}",
    ("deployment", "backend"),
    (50, 100, 200, 300, 500, 750, 1000, 1500, 2000, 3000, 5000, 7500, 10_000, 15_000, 30_000, 60_000),
    "Answers by milliseconds from sending the request to the head of the backend's answer.",
)
ADDED_LATENCY: Final = _buckets(
    "gateway.added_latency.bucket",
    "{request}",
    ("operation",),
    (1, 2, 3, 5, 7.5, 10, 15, 20, 30, 50, 75, 100, 200, 500, 1000, 5000),
    "Requests by milliseconds until their answer begins, without those for which a backend was waited for.",
)
LEDGER_COMMIT: Final = _buckets(
    "gateway.ledger.commit.bucket",
    "{commit}",
    ("result",),
    (2, 5, 7.5, 10, 15, 20, 30, 50, 75, 100, 200, 500, 1000, 2000, 5000, 10_000),
    "Commits of the ledger by milliseconds. The result is `committed`, `conflict`, `rejected` or `unknown`.",
)
OPERATION_DURATION: Final = Instrument(
    name="gen_ai.client.operation.duration",
    kind=InstrumentKind.HISTOGRAM,
    unit="s",
    dimensions=("gen_ai.operation.name", "gen_ai.request.model", "error.type"),
    description="Seconds of an attempt, from its reservation to its settlement.",
    bounds=(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
)
QUOTA_UTILIZATION: Final = _gauge(
    "gateway.quota.utilization",
    "1",
    ("tenant", "limit"),
    "Part of a tenant's limit of the month that is used or reserved. The limit is `tokens` or `usd`. "
    "The tenant `_platform` is all of them together.",
)
QUOTA_FORECAST: Final = _gauge(
    "gateway.quota.forecast", "1", ("tenant", "limit"), "Part of the limit that will be used at the end of the month."
)
RESERVATIONS_OPEN: Final = _gauge(
    "gateway.reservations.open", "{reservation}", (), "Reservations of all tenants that are not settled."
)
TIMER_AGE: Final = _gauge("gateway.timer.age_seconds", "s", ("timer",), "Seconds since a timer last ran to its end.")
ANCHORS_AGE: Final = _gauge("gateway.anchors.age_seconds", "s", (), "Seconds since the heads were last anchored.")
OUTBOX_BACKLOG: Final = _gauge(
    "gateway.outbox.backlog",
    "{alert}",
    ("sink", "state"),
    "Alerts that wait for delivery (`waiting`), are `dead`, or `damaged`.",
)
VERIFICATION_FINDINGS: Final = _gauge(
    "gateway.verification.findings", "{finding}", (), "Findings of the last verification of the books."
)
BACKENDS_UNAVAILABLE: Final = _gauge(
    "gateway.backends.unavailable", "{backend}", ("deployment",), "Backends of a pool that take no request now."
)
INSTRUMENTS: Final = (
    REQUESTS,
    TOKENS,
    COST,
    REFUSALS,
    UPSTREAM_RESPONSES,
    FAILOVERS,
    SPILLOVERS,
    CONTENT_FILTER,
    TTFB,
    ADDED_LATENCY,
    LEDGER_COMMIT,
    OPERATION_DURATION,
    QUOTA_UTILIZATION,
    QUOTA_FORECAST,
    RESERVATIONS_OPEN,
    TIMER_AGE,
    ANCHORS_AGE,
    OUTBOX_BACKLOG,
    VERIFICATION_FINDINGS,
    BACKENDS_UNAVAILABLE,
)
