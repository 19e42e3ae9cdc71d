"""The queries of workbook and alert rules, run over what a gateway under faults has exported."""

from __future__ import annotations

import asyncio
import json
import random
import time
from bisect import bisect_left
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

import pytest

from local.emulators.ingestion import Ingestion
from shared import timers
from shared.adapters.monitor.connect import connect_azure
from shared.adapters.monitor.exported import ExportedTelemetry
from shared.application.sweep import SweepFailed
from shared.domain.alerts.alert import AlertKind
from shared.domain.telemetry.instruments import ADDED_LATENCY, LEDGER_COMMIT, TTFB, Instrument
from shared.generated_secrets import generate_key_file
from tests.functions.telemetry.test_export import KEY, serving
from tests.infra.exported_rows import RESOURCE, rows_of
from tests.infra.kusto_queries import ALERT_QUERIES, Kusto, Rows, running_kusto, with_values, workbook_queries
from tests.infra.test_alert_rules import RULES
from tests.tools.alert_causes import CAUSES, Calendar, World
from tests.tools.alert_receivers import running_receiver
from tests.tools.entra import running_entra
from tests.tools.ledgers import FaultyStore
from tests.tools.stack import Stack, running_stack

HOUR_MS = 3_600_000
SPILL = {"deployment": "gpt-4o-mini", "sku": "GlobalStandard", "model": "gpt-4o-mini"}


@dataclass(frozen=True)
class Run:
    """A gateway under faults: its exported rows, its entries, and what it asked of backends."""

    rows: dict[str, Rows]
    ended_ms: int
    tenant: str
    entries: list[dict[str, Any]]
    asked: list[dict[str, Any]]
    used: float
    """The used part of the tenant's quota."""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        return asyncio.run(_run(patch, tmp_path_factory.mktemp("run")))


@pytest.fixture(scope="module")
def kusto() -> Iterator[Kusto]:
    with running_kusto() as process:
        yield process


async def _run(patch: pytest.MonkeyPatch, folder: Path) -> Run:
    generate_key_file(folder / "key.pem")
    ingestion = Ingestion()
    async with serving(ingestion) as url, running_receiver() as receiver, running_entra(patch, folder) as entra:
        receiver.answering(410)
        settings = {
            "TALLYGATE_STORAGE": "memory",
            "APPLICATIONINSIGHTS_CONNECTION_STRING": f"{KEY};IngestionEndpoint={url}/",
            "AUDIT_SIGNING_KEY_FILE": str(folder / "key.pem"),
            "ALERT_SECRETS": json.dumps({"address": receiver.url}),
            "ALERT_ANOMALY_FLOOR_USD": "0.0000001",
        }
        async with running_stack(patch, folder, settings) as stack:
            world = World(stack, Calendar(patch), entra)
            await stack.manage("PUT", "/manage/alerts/sinks/gone", {"type": "slack", "address_secret": "address"})
            world.calendar.wait_until_day(10)
            await _serve(stack)
            await _go_wrong(world)
            await _run_timers()
            await stack.settled()
            await (await stack.gateway()).telemetry.flush()
            usage = await stack.usage()
            return Run(
                rows=rows_of(ingestion),
                ended_ms=int(time.time() * 1000) + 1,
                tenant=stack.tenant,
                entries=[each for each in await stack.entries() if "usage" in each],
                asked=await stack.requests(),
                used=usage["tokens_used"] / usage["quota_tokens"],
            )


async def _serve(stack: Stack) -> None:
    """Serve requests with each outcome that a backend may have."""
    await stack.pool("swedencentral", "germanywestcentral")
    for stream in (False, True):
        for fault in (None, None, None, {"status": 500}, {"status": 429}):
            if fault is not None:
                await stack.fault(kind="status", **fault)
            assert (await stack.chat(stream=stream))[0] == 200
    for mark in ("[filter-prompt]", "[filter-completion]"):
        await stack.chat(mark)
    ptu = {
        "upstream_deployment": "o4-mini",
        "model": "o4-mini",
        "sku": "ProvisionedManaged",
        "spillover_deployment": SPILL,
    }
    await stack.backend("swedencentral", "ptu", **ptu)
    await stack.manage("PUT", "/manage/deployments/o4-mini", {"backends": ["ptu"]})
    stack.simulator.spilled["o4-mini"] = "gpt-4o-mini"
    await stack.chat(url=stack.chat_url.replace("gpt-4o", "o4-mini"))


async def _go_wrong(world: World) -> None:
    """Cause what each rule is about."""
    stack = world.stack
    for kind in (AlertKind.VERIFICATION_FAILED, AlertKind.MODEL_UNPRICED, AlertKind.REGION_DOWN):
        await CAUSES[kind](world)
    for _ in range(60):
        assert (await stack.chat())[0] == 503
    await timers.roll_up_usage(past_due=False)
    used = (await stack.usage())["tokens_used"]
    await world.change_tenant(monthly_quota_tokens=int(used * 1.5))
    other = await stack.register("other", cost_center="CC-2")
    books: Any = (await stack.gateway()).ledger.books
    store, books._store = books._store, FaultyStore(books._store, is_down=True)
    url = stack.chat_url.replace("gpt-4o", "gpt-4o-mini")
    assert (await stack.chat(url=url, key=other))[0] == 503
    books._store = store


async def _run_timers() -> None:
    names = (
        "roll_up_usage", "watch_budgets", "watch_spending", "describe_tenants", "chain_audit", "anchor_audit",
        "verify_books", "report_health", "deliver_alerts", "watch_budgets",
    )  # fmt: skip
    for name in names:
        with suppress(SweepFailed):
            await getattr(timers, name)(past_due=False)


def rule(kusto: Kusto, run: Run, name: str, *, later_ms: int = 0) -> Rows:
    """Evaluate a rule after the run. The alerts of the gateway have just arrived then."""
    query = ALERT_QUERIES[name].replace("APPLICATION_INSIGHTS_ID", RESOURCE.upper())
    return kusto.run({"it": query}, run.rows, run.ended_ms + later_ms)["it"]


def chart(kusto: Kusto, run: Run, name: str) -> Rows:
    query = with_values(workbook_queries()[name]).replace("APPLICATION_INSIGHTS_ID", RESOURCE.upper())
    return kusto.run({"it": query}, run.rows, run.ended_ms)["it"]


@pytest.mark.parametrize("name", RULES)
def test_each_rule_fires_over_what_the_gateway_has_exported(kusto: Kusto, run: Run, name: str) -> None:
    found = rule(kusto, run, name)
    (condition,) = RULES[name]["criteria"]["allOf"]
    assert [row for row in found if row["value"] > condition["threshold"]], found


@pytest.mark.parametrize("name", workbook_queries())
def test_each_figure_of_the_workbook_shows_what_the_gateway_has_exported(kusto: Kusto, run: Run, name: str) -> None:
    assert chart(kusto, run, name)


def total(rows: Rows, column: str) -> float:
    return float(sum(row[column] or 0 for row in rows))


def booked(run: Run, name: str) -> float:
    return float(sum(each["usage"].get(name, 0) for each in run.entries))


@pytest.mark.parametrize("figure", ["usage by tenant", "usage by cost center", "usage by deployment"])
def test_tokens_and_dollars_are_those_of_the_ledger(kusto: Kusto, run: Run, figure: str) -> None:
    rows = chart(kusto, run, figure)
    for name in ("input", "cached_input", "output"):
        assert total(rows, name) == booked(run, name)
    assert total(rows, "dollars") == pytest.approx(sum(float(each["cost_usd"]) for each in run.entries))


def test_the_hour_of_an_anomaly_has_the_dollars_of_the_ledger(kusto: Kusto, run: Run) -> None:
    (row,) = rule(kusto, run, "spend-anomaly", later_ms=HOUR_MS)  # a rule looks at the last whole hour
    assert row["tenant"] == run.tenant
    assert row["value"] == pytest.approx(sum(float(each["cost_usd"]) for each in run.entries))


def test_a_tenant_has_its_cost_center(kusto: Kusto, run: Run) -> None:
    centers = {row["tenant"]: row["cost_center"] for row in chart(kusto, run, "usage by tenant")}
    assert centers == {run.tenant: "CC-1", "other": "CC-2"}


def test_a_rule_names_what_its_alert_is_about(kusto: Kusto, run: Run) -> None:
    named = {("model-unpriced", "deployment"): "gpt-4o", ("pool-down", "deployment"): "gpt-4o",
             ("region-down", "region"): "francecentral", ("budget-threshold", "tenant"): run.tenant,
             ("alert-undelivered", "sink"): "alerts/sinks/gone"}  # fmt: skip
    for (name, dimension), expected in named.items():
        (condition,) = RULES[name]["criteria"]["allOf"]
        fired = [row for row in rule(kusto, run, name) if row["value"] > condition["threshold"]]
        assert {row[dimension] for row in fired} == {expected}


def test_backends_show_what_they_were_asked(kusto: Kusto, run: Run) -> None:
    rows = chart(kusto, run, "backends")
    assert total(rows, "attempts") == len(run.asked)
    assert total(rows, "failovers") == total(rows, "failed") + total(rows, "rate_limited") == 4
    assert {row["backend"]: row["spillovers"] for row in rows if row["spillovers"]} == {"ptu": 1}
    assert total(chart(kusto, run, "first byte"), "total") == len(run.asked)


def test_refusals_and_filters_are_counted_by_cause(kusto: Kusto, run: Run) -> None:
    refused = {row["reason"]: row["requests"] for row in chart(kusto, run, "refusals")}
    assert refused["no_backend_available"] == 60
    assert refused["unpriced_model"] == refused["ledger_unavailable"] == 1
    filtered = {row["series"]: row["requests"] for row in chart(kusto, run, "content filter")}
    assert filtered == {"gpt-4o prompt": 1, "gpt-4o completion": 1}


def test_limits_show_what_the_report_of_the_tenant_shows(kusto: Kusto, run: Run) -> None:
    (row,) = chart(kusto, run, "limits")
    assert (row["tenant"], row["quota"]) == (run.tenant, "tokens")
    assert row["used"] == pytest.approx(run.used)
    assert row["forecast"] > 1


def test_every_line_and_figure_belongs_to_the_one_gateway(kusto: Kusto, run: Run) -> None:
    elsewhere = {table: [{**row, "_ResourceId": "elsewhere"} for row in rows] for table, rows in run.rows.items()}
    doubled = replace(run, rows={table: [*rows, *elsewhere[table]] for table, rows in run.rows.items()})
    for figure in workbook_queries():
        assert chart(kusto, doubled, figure) == chart(kusto, run, figure)


@pytest.mark.parametrize(
    ("figure", "instrument", "values"),
    [
        ("first byte", TTFB, ("gpt-4o", "east")),
        ("added latency", ADDED_LATENCY, ("embeddings",)),
        ("commits", LEDGER_COMMIT, ("committed",)),
    ],
)
async def test_percentiles_are_the_bounds_above_those_of_a_known_distribution(
    kusto: Kusto, figure: str, instrument: Instrument, values: tuple[str, ...]
) -> None:
    milliseconds = [random.Random(7).lognormvariate(4, 1.2) for _ in range(5000)]
    ingestion = Ingestion()
    async with serving(ingestion) as url:
        telemetry = ExportedTelemetry(10, lambda: connect_azure(f"{KEY};IngestionEndpoint={url}", None, "i"), _fail)
        for at in range(0, 5000, 2500):
            for each in milliseconds[at : at + 2500]:
                telemetry.record(instrument, each, *values)
            await telemetry.flush()
        await telemetry.aclose()
    exported = Run(rows_of(ingestion), int(time.time() * 1000) + 1, "", [], [], 0)
    (row,) = chart(kusto, exported, figure)
    assert row["total"] == 5000
    for name, part in (("p50_ms", 0.5), ("p95_ms", 0.95), ("p99_ms", 0.99)):
        exact = sorted(milliseconds)[ceil(part * 5000) - 1]
        assert row[name] == f"≤ {instrument.bounds[bisect_left(instrument.bounds, exact)]:g}"


def _fail(error: Exception, message: str) -> None:
    raise AssertionError(message) from error
