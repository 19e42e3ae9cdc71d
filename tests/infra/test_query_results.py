"""The queries of workbook and alert rules, run over rows as Application Insights stores them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.infra.kusto_queries import ALERT_QUERIES, VALUES, Kusto, Rows, running_kusto, with_values, workbook_queries

HERE, ELSEWHERE = "/subscriptions/s/components/here", "/subscriptions/s/components/elsewhere"
MINUTE, HOUR = 60_000, 3_600_000
NOW = 1_764_151_200_000
"""A whole hour."""


class Workspace:
    """Rows of the tables. They are a minute old unless a test says otherwise."""

    def __init__(self, kusto: Kusto) -> None:
        self._kusto = kusto
        self.tables: dict[str, Rows] = {"AppMetrics": [], "AppTraces": []}

    def metric(
        self, name: str, value: float, *, age: int = MINUTE, count: int = 1, gateway: str = HERE, **dimensions: str
    ) -> None:
        # Azure writes ids of resources in small letters, whatever the template says.
        row = {"Name": name, "Sum": value, "ItemCount": count, "Properties": dimensions}
        self.tables["AppMetrics"].append({**row, "TimeGenerated": NOW - age, "_ResourceId": gateway})

    def event(self, name: str, *, age: int = MINUTE, arrived: int | None = None, **fields: str | int) -> None:
        properties = {"event.name": name, **{key.replace("__", "."): value for key, value in fields.items()}}
        row = {"TimeGenerated": NOW - age, "IngestionTime": NOW - (age if arrived is None else arrived)}
        self.tables["AppTraces"].append({**row, "Properties": properties, "_ResourceId": HERE})

    def alert(
        self, kind: str, subject: str = "", *, age: int = MINUTE, arrived: int | None = None, tenant: str = ""
    ) -> None:
        fields = {"gateway__alert__kind": kind, "gateway__alert__subject": subject, "gateway__alert__severity": "error"}
        self.event("gateway.alert", age=age, arrived=arrived, **fields, gateway__tenant=tenant)

    def rule(self, name: str) -> Rows:
        """Run the query of a rule."""
        return self._rows(ALERT_QUERIES[name])

    def chart(self, name: str, **parameters: str) -> Rows:
        """Run the query of an item of the workbook, with values of its parameters."""
        given = VALUES | {f"{{{key}}}": value for key, value in parameters.items()}
        return self._rows(with_values(workbook_queries()[name], given))

    def _rows(self, query: str) -> Rows:
        query = query.replace("APPLICATION_INSIGHTS_ID", HERE.upper())
        return self._kusto.run({"it": query}, self.tables, NOW)["it"]


@pytest.fixture(scope="module")
def kusto() -> Iterator[Kusto]:
    with running_kusto() as process:
        yield process


@pytest.fixture
def logs(kusto: Kusto) -> Workspace:
    return Workspace(kusto)


def by(rows: Rows, key: str, column: str = "value") -> dict[str, Any]:
    return {row[key]: row[column] for row in rows}


def answers(logs: Workspace, region: str, *, gateway: str = HERE, **counts: int) -> None:
    for status, count in counts.items():
        logs.metric(
            "gateway.upstream.responses", count, gateway=gateway, backend=f"b-{region}", region=region, deployment="d",
            status=status.removeprefix("s"),
        )  # fmt: skip


def test_a_region_is_down_by_its_share_of_failures_and_by_the_gateways_own_alert(logs: Workspace) -> None:
    answers(logs, "eu1", s200=10, s500=12, s0=5, s429=3)
    answers(logs, "eu2", s200=100)
    answers(logs, "eu2", gateway=ELSEWHERE, s500=1000)
    answers(logs, "eu3", s500=19)  # too few to say anything
    logs.alert("region.down", "regions/eu4")
    assert by(logs.rule("region-down"), "region") == {"eu1": pytest.approx(100 * 17 / 30), "eu2": 0, "eu4": 100}


def test_a_pool_is_down_by_refusals_and_by_the_gateways_own_alert(logs: Workspace) -> None:
    logs.metric("gateway.refusals", 7, reason="no_backend_available", status="503", deployment="a")
    logs.metric("gateway.refusals", 5, reason="no_backend_available", status="503", deployment="a")
    logs.metric("gateway.refusals", 90, reason="quota_exceeded", status="429", deployment="b")
    logs.alert("pool.down", "deployments/c")
    assert by(logs.rule("pool-down"), "deployment") == {"a": 12, "c": 1000}


def test_the_ledger_is_unavailable_by_refusals_and_by_unknown_commits(logs: Workspace) -> None:
    assert [row["value"] for row in logs.rule("ledger-unavailable")] == [0]
    logs.metric("gateway.refusals", 2, reason="ledger_unavailable", status="503", deployment="a")
    logs.metric("gateway.ledger.commit.bucket", 1, result="unknown", le="+Inf")
    logs.metric("gateway.ledger.commit.bucket", 9, result="committed", le="10")
    assert [row["value"] for row in logs.rule("ledger-unavailable")] == [3]


def test_all_timers_stand_still_if_none_reports_its_age(logs: Workspace) -> None:
    assert logs.rule("timer-late") == [{"timer": "(all)", "value": 1}]
    logs.metric("gateway.timer.age_seconds", 30, timer="level_lanes")
    assert logs.rule("timer-late") == []
    logs.alert("timer.late", "timers/level_lanes")
    assert logs.rule("timer-late") == [{"timer": "level_lanes", "value": 1}]


def test_the_newest_verification_counts(logs: Workspace) -> None:
    logs.metric("gateway.verification.findings", 3, age=40 * MINUTE)
    assert [row["value"] for row in logs.rule("verification-failed")] == [3]
    logs.metric("gateway.verification.findings", 0)
    assert [row["value"] for row in logs.rule("verification-failed")] == [0]
    logs.alert("verification.failed", "tenants/acme")
    assert [row["value"] for row in logs.rule("verification-failed")] == [1]


@pytest.mark.parametrize(
    ("rule", "kind"), [("budget-threshold", "budget.threshold"), ("gateway-alert", "period.closed")]
)
def test_an_alert_that_arrives_late_is_told_in_one_evaluation(logs: Workspace, rule: str, kind: str) -> None:
    logs.alert(kind, "late", age=20 * MINUTE, arrived=MINUTE, tenant="acme")
    logs.alert(kind, "told before", age=20 * MINUTE, arrived=10 * MINUTE)
    assert by(logs.rule(rule), "subject") == {"late": 1}


def test_the_rule_for_other_alerts_leaves_those_with_a_rule_of_their_own(logs: Workspace) -> None:
    logs.alert("key.expires_soon", "tenants/acme/keys/k")
    logs.alert("budget.threshold", "tenants/acme", tenant="acme")
    told = {"alert": "key.expires_soon", "subject": "tenants/acme/keys/k", "severity": "error", "value": 1}
    assert logs.rule("gateway-alert") == [told]
    assert by(logs.rule("budget-threshold"), "alert", "tenant") == {"budget.threshold": "acme"}


def test_an_alert_that_is_given_up_names_its_sink(logs: Workspace) -> None:
    logs.event("gateway.alert.dead", gateway__alert__kind="pool.down", gateway__alert__sink="hook")
    assert by(logs.rule("alert-undelivered"), "sink") == {"hook": 1}


def test_the_error_rate_is_of_enough_requests(logs: Workspace) -> None:
    for deployment, status, count in (("a", "200", 90), ("a", "500", 6), ("a", "503", 4), ("b", "500", 49)):
        logs.metric("gateway.requests", count, tenant="t", deployment=deployment, operation="chat", status=status)
    assert by(logs.rule("error-rate"), "deployment") == {"a": 10}


def test_a_model_without_a_price_is_told(logs: Workspace) -> None:
    logs.metric("gateway.refusals", 3, reason="unpriced_model", status="424", deployment="a")
    assert by(logs.rule("model-unpriced"), "deployment") == {"a": 3}


def test_an_unusual_hour_is_told_with_its_dollars_and_a_steady_tenant_is_not(logs: Workspace) -> None:
    for hour in range(48):
        age = hour * HOUR + 10 * MINUTE
        logs.metric("gateway.cost_usd", 1.0 + hour % 3 / 10, age=age, tenant="steady", deployment="d")
        logs.metric(
            "gateway.cost_usd", 80.0 if hour == 0 else 1.0 + hour % 3 / 10, age=age, tenant="runaway", deployment="d"
        )
    logs.alert("spend.anomaly", "tenants/raised", tenant="raised")
    assert by(logs.rule("spend-anomaly"), "tenant") == {"runaway": 80, "raised": 1_000_000}


def usage(logs: Workspace) -> None:
    for kind, count in (("input", 1000), ("cached_input", 200), ("output", 300)):
        logs.metric("gateway.tokens", count, tenant="acme", deployment="a", type=kind)
    logs.metric("gateway.tokens", 50, tenant="globex", deployment="b", type="input")
    logs.metric("gateway.cost_usd", 1.5, tenant="acme", deployment="a")
    logs.metric("gateway.cost_usd", 0.5, age=2 * HOUR, tenant="acme", deployment="b")
    logs.metric("gateway.cost_usd", 2.0, tenant="images", deployment="a")
    logs.metric("gateway.requests", 9, tenant="acme", deployment="a", operation="chat", status="200")
    logs.event("gateway.tenant.described", age=3 * HOUR, gateway__tenant="acme", gateway__cost_center="CC-OLD")
    for tenant, center in (("acme", "CC-1"), ("globex", "CC-1"), ("images", "")):
        logs.event("gateway.tenant.described", gateway__tenant=tenant, gateway__cost_center=center)


def test_usage_by_tenant_has_its_newest_cost_center(logs: Workspace) -> None:
    usage(logs)
    rows = logs.chart("usage by tenant")
    assert by(rows, "tenant", "cost_center") == {"acme": "CC-1", "globex": "CC-1", "images": "(none)"}
    acme = next(row for row in rows if row["tenant"] == "acme")
    figures = {"requests": 9, "input": 1000, "cached_input": 200, "output": 300, "dollars": 2.0}
    assert acme == {"tenant": "acme", "cost_center": "CC-1", **figures}


def test_usage_by_cost_center_adds_up_its_tenants(logs: Workspace) -> None:
    usage(logs)
    rows = logs.chart("usage by cost center")
    assert by(rows, "cost_center", "tenants") == {"CC-1": 2, "(none)": 1}
    assert by(rows, "cost_center", "input") == {"CC-1": 1050, "(none)": 0}
    assert by(rows, "cost_center", "dollars") == {"CC-1": 2.0, "(none)": 2.0}


def test_filters_choose_tenants_and_deployments(logs: Workspace) -> None:
    usage(logs)
    assert by(logs.chart("usage by tenant", Tenant="'globex','images'"), "tenant", "dollars") == {
        "globex": 0,
        "images": 2,
    }
    assert by(logs.chart("usage by deployment", Deployment="'b'"), "deployment", "dollars") == {"b": 0.5}
    assert by(logs.chart("usage by deployment"), "deployment", "dollars") == {"a": 3.5, "b": 0.5}


def test_dollars_are_added_up_by_hour(logs: Workspace) -> None:
    usage(logs)
    rows = logs.chart("dollars over time", Tenant="'acme'")
    assert {(row["deployment"], (NOW - row["TimeGenerated"]) // HOUR): row["dollars"] for row in rows} == {
        ("a", 1): 1.5,
        ("b", 2): 0.5,
    }


def test_limits_show_the_newest_use_and_forecast(logs: Workspace) -> None:
    logs.metric("gateway.quota.utilization", 0.4, age=HOUR, tenant="acme", limit="tokens")
    logs.metric("gateway.quota.utilization", 0.5, tenant="acme", limit="tokens")
    logs.metric("gateway.quota.forecast", 1.2, tenant="acme", limit="tokens")
    assert logs.chart("limits") == [{"tenant": "acme", "quota": "tokens", "used": 0.5, "forecast": 1.2}]


def test_backends_show_answers_failovers_and_spillovers_in_one_row(logs: Workspace) -> None:
    answers(logs, "eu1", s200=10, s500=12, s0=5, s429=3)
    logs.metric("gateway.failovers", 4, backend="b-eu1", region="eu1", reason="backend_error")
    logs.metric("gateway.spillovers", 2, backend="b-eu1", region="eu1")
    (row,) = logs.chart("backends")
    counts = {"attempts": 30, "rate_limited": 3, "failed": 12, "no_answer": 5, "failovers": 4, "spillovers": 2}
    assert row == {"backend": "b-eu1", "region": "eu1", **counts}
    outcomes = by(logs.chart("answers of backends"), "outcome", "attempts")
    assert outcomes == {"answered": 10, "5xx": 12, "no answer": 5, "429": 3}


def test_percentiles_are_upper_bounds_of_buckets_for_each_series(logs: Workspace) -> None:
    # Each export adds to a bucket, and buckets arrive in no order.
    for bound, count in (("+Inf", 2), ("500", 3), ("100", 20), ("200", 45), ("100", 30)):
        logs.metric("gateway.ttfb.bucket", count, deployment="a", backend="first", le=bound)
    for bound in ("50", "1000"):
        logs.metric("gateway.ttfb.bucket", 1, deployment="a", backend="second", le=bound)
    first, second = logs.chart("first byte")
    assert (first["backend"], first["total"]) == ("first", 100)
    assert [first[name] for name in ("p50_ms", "p95_ms", "p99_ms")] == ["≤ 100", "≤ 200", "beyond"]
    assert [second[name] for name in ("p50_ms", "p95_ms", "p99_ms")] == ["≤ 50", "≤ 1000", "≤ 1000"]


def test_percentiles_over_time_leave_out_what_is_beyond_the_buckets(logs: Workspace) -> None:
    for age, bound in ((MINUTE, "100"), (2 * HOUR, "+Inf"), (3 * HOUR, "7.5")):
        logs.metric("gateway.added_latency.bucket", 5, age=age, operation="chat", le=bound)
    rows = logs.chart("added latency over time")
    assert sorted((NOW - row["TimeGenerated"]) // HOUR for row in rows) == [1, 3]
    assert {row["p95_ms"] for row in rows} == {100, 7.5}


def test_gauges_show_the_newest_value_of_each_series(logs: Workspace) -> None:
    for timer, age, seconds in (("a", HOUR, 9000), ("a", MINUTE, 40), ("b", MINUTE, 400)):
        logs.metric("gateway.timer.age_seconds", seconds, age=age, timer=timer)
    assert by(logs.chart("timers"), "timer", "seconds") == {"b": 400, "a": 40}
    assert logs.chart("verification") == logs.chart("anchors") == []


def test_runs_of_timers_count_failures(logs: Workspace) -> None:
    logs.event("gateway.timer.finished", gateway__timer="a", gateway__timer__duration_ms=10)
    logs.event("gateway.timer.failed", age=HOUR, gateway__timer="a", gateway__timer__duration_ms=30)
    (row,) = logs.chart("runs")
    figures = {"runs": 2, "failures": 1, "average_ms": 20, "longest_ms": 30, "last_failure": NOW - HOUR}
    assert row == {"timer": "a", **figures}


def test_durations_are_averages_of_attempts(logs: Workspace) -> None:
    dimensions: Mapping[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o",
        "error.type": "",
    }
    logs.metric("gen_ai.client.operation.duration", 10.0, count=4, **dimensions)
    logs.metric("gen_ai.client.operation.duration", 2.0, count=2, **dimensions)
    (row,) = logs.chart("durations")
    assert (row["seconds"], row["attempts"]) == (2.0, 6)


def test_every_query_runs_over_an_empty_workspace(kusto: Kusto) -> None:
    queries = {**ALERT_QUERIES, **{name: with_values(query) for name, query in workbook_queries().items()}}
    results = kusto.run(queries, {"AppMetrics": [], "AppTraces": []}, NOW)
    told = {name: rows for name, rows in results.items() if rows}
    assert told == {
        "ledger-unavailable": [{"value": 0}],
        "timer-late": [{"timer": "(all)", "value": 1}],
        "verification-failed": [{"value": None}],
    }
