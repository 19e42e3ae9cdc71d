"""Metrics, spans and log lines arrive at a monitor, through the real exporters."""

from __future__ import annotations

import asyncio
import logging
import ssl
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from local.emulators.ingestion import Ingestion
from shared import timers
from shared.adapters.monitor.exported import FLUSH_SECONDS, ExportedTelemetry
from shared.composition.telemetry import report_failure
from shared.domain.telemetry import instruments
from tests.tools.entra import running_entra, trusted_context
from tests.tools.events import told
from tests.tools.stack import Stack, eventually, free_port, running_stack
from tests.unit.telemetry.test_exported import PLANTED, SPAN

KEY = "InstrumentationKey=00000000-0000-0000-0000-000000000000"


@asynccontextmanager
async def serving(ingestion: Ingestion, context: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    runner = web.AppRunner(ingestion.application(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
    try:
        yield f"{'https' if context else 'http'}://127.0.0.1:{port}"
    finally:
        ingestion.released.set()
        await runner.cleanup()


@pytest.fixture
def ingestion() -> Ingestion:
    return Ingestion()


@pytest.fixture
async def url(ingestion: Ingestion) -> AsyncIterator[str]:
    async with serving(ingestion) as url:
        yield url


@pytest.fixture
async def monitored(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[Stack]:
    """Run a gateway that exports to the emulated Application Insights, with all requests in the sample."""
    settings = {
        "TALLYGATE_STORAGE": "memory",
        "APPLICATIONINSIGHTS_CONNECTION_STRING": f"{KEY};IngestionEndpoint={url}/",
        "TELEMETRY_SAMPLING_RATIO": "1",
    }
    async with running_stack(monkeypatch, tmp_path, settings) as stack:
        yield stack


async def flush(stack: Stack) -> None:
    await stack.settled()
    await (await stack.gateway()).telemetry.flush()


def metrics(ingestion: Ingestion, name: str) -> dict[tuple[str, ...], float]:
    """Return the sums of a metric by its dimensions."""
    (instrument,) = [each for each in instruments.INSTRUMENTS if each.name == name]
    found: dict[tuple[str, ...], float] = {}
    for each in ingestion.of_kind("MetricData"):
        (point,) = each["metrics"]
        if point["name"] == name:
            properties = each.get("properties", {})
            assert set(properties) == set(instrument.exported_dimensions)
            key = tuple(properties[dimension] for dimension in instrument.exported_dimensions)
            found[key] = found.get(key, 0) + point["value"]
    return found


async def test_what_a_request_measures_arrives(monitored: Stack, ingestion: Ingestion) -> None:
    _, headers, _ = await monitored.chat()
    await flush(monitored)
    tenant = monitored.tenant
    assert metrics(ingestion, "gateway.requests") == {(tenant, "gpt-4o", "chat/completions", "200"): 1}
    assert sum(metrics(ingestion, "gateway.ttfb.bucket").values()) == 1
    assert set(metrics(ingestion, "gateway.tokens")) == {(tenant, "gpt-4o", "input"), (tenant, "gpt-4o", "output")}
    (duration,) = metrics(ingestion, "gen_ai.client.operation.duration")
    assert duration == ("chat", "gpt-4o", "")
    (request,) = ingestion.of_kind("RequestData")
    (dependency,) = ingestion.of_kind("RemoteDependencyData")
    assert request["properties"]["gateway.request_id"] == headers["x-gateway-request-id"]
    assert (request["responseCode"], request["success"]) == ("200", True)
    assert dependency["name"] == "chat gpt-4o"
    assert dependency["properties"]["gen_ai.provider.name"] == "azure.ai.openai"
    tags = {each["tags"]["ai.operation.id"] for each in ingestion.envelopes if "Request" in each["name"]}
    assert tags == {headers["x-gateway-request-id"]}


async def test_only_what_has_changed_is_sent_again(monitored: Stack, ingestion: Ingestion) -> None:
    for _ in range(2):
        await monitored.chat()
        await flush(monitored)
        await flush(monitored)
    ((_, total),) = metrics(ingestion, "gateway.requests").items()
    sent = [each["metrics"][0] for each in ingestion.of_kind("MetricData")]
    assert total == 2
    assert len([each for each in sent if each["name"] == "gateway.requests"]) == 2


async def test_every_kind_of_instrument_arrives_with_its_dimensions(monitored: Stack, ingestion: Ingestion) -> None:
    telemetry = (await monitored.gateway()).telemetry
    for each in instruments.INSTRUMENTS:
        values = [f"a {name}" for name in each.dimensions]
        match each.kind:
            case instruments.InstrumentKind.SUM:
                telemetry.add(each, 3, *values)
            case instruments.InstrumentKind.GAUGE:
                telemetry.set(each, 3, *values)
            case _:
                telemetry.record(each, 3, *values)
    await flush(monitored)
    for each in instruments.INSTRUMENTS:
        found = metrics(ingestion, each.name)
        assert any(key[: len(each.dimensions)] == tuple(f"a {name}" for name in each.dimensions) for key in found)


async def test_a_line_arrives_with_its_fields_also_one_from_before_the_export(
    monitored: Stack, ingestion: Ingestion
) -> None:
    await monitored.fault(kind="status", status=500)
    _, headers, _ = await monitored.chat()
    await flush(monitored)
    lines = [each for each in ingestion.of_kind("MessageData") if "event.name" in each["properties"]]
    (failed,) = [each for each in lines if each["properties"]["event.name"] == "gateway.request.failed"]
    assert failed["properties"]["gateway.request_id"] == headers["x-gateway-request-id"]
    assert ingestion.of_kind("ExceptionData") == []


@pytest.mark.parametrize(("mode", "status"), [("answer", 429), ("answer", 500), ("hang_up", 200)])
async def test_what_was_not_accepted_is_sent_again(
    monitored: Stack, ingestion: Ingestion, mode: str, status: int
) -> None:
    ingestion.mode, ingestion.status = mode, status
    await monitored.chat()
    await flush(monitored)
    assert ingestion.requests > 0
    ingestion.mode, ingestion.status = "answer", 200
    while not metrics(ingestion, "gateway.requests"):
        await flush(monitored)
    assert sum(metrics(ingestion, "gateway.requests").values()) == 1


async def test_what_was_accepted_in_part_is_not_sent_again(monitored: Stack, ingestion: Ingestion) -> None:
    ingestion.status = 206
    await monitored.chat()
    await flush(monitored)
    ingestion.status = 200
    await flush(monitored)
    assert sum(metrics(ingestion, "gateway.requests").values()) <= 1


async def test_a_silent_monitor_delays_no_request_and_no_timer_for_long(monitored: Stack, ingestion: Ingestion) -> None:
    ingestion.mode = "stall"
    await monitored.chat()
    async with asyncio.timeout(60):
        await flush(monitored)
        for _ in range(20):
            status, _, _ = await monitored.chat()
            assert status == 200
    ingestion.mode = "answer"
    ingestion.released.set()


async def test_application_insights_gets_a_token_of_the_identity_over_tls(
    ingestion: Ingestion, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with running_entra(monkeypatch, tmp_path), serving(ingestion, trusted_context()) as url:
        settings = {
            "TALLYGATE_STORAGE": "memory",
            "APPLICATIONINSIGHTS_CONNECTION_STRING": f"{KEY};IngestionEndpoint={url}/",
            "TELEMETRY_SAMPLING_RATIO": "1",
        }
        async with running_stack(monkeypatch, tmp_path, settings) as stack:
            await stack.chat()
            await flush(stack)
        await eventually(lambda: all(each.name != "telemetry" for each in threading.enumerate()))
    assert {each["data"]["baseType"] for each in ingestion.envelopes} == {
        "MetricData",
        "MessageData",
        "RequestData",
        "RemoteDependencyData",
    }
    assert all(each.startswith("Bearer ey") for each in ingestion.tokens)


async def test_a_collector_of_otlp_gets_the_same(
    url: str, ingestion: Ingestion, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
    from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    settings = {
        "TALLYGATE_STORAGE": "memory",
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "TELEMETRY_SAMPLING_RATIO": "1",
    }
    async with running_stack(monkeypatch, tmp_path, settings) as stack:
        await stack.fault(kind="status", status=500)
        await stack.chat()
        await stack.chat()
        await flush(stack)

    def scopes(signal: str, kind: Any, resources: str, within: str, items: str) -> list[Any]:
        found = []
        for body in ingestion.otlp[signal]:
            request = kind()
            request.ParseFromString(body)
            for resource in getattr(request, resources):
                for scope in getattr(resource, within):
                    found += getattr(scope, items)
        return found

    measured = scopes("metrics", ExportMetricsServiceRequest, "resource_metrics", "scope_metrics", "metrics")
    assert {"gateway.requests", "gen_ai.client.operation.duration"} <= {each.name for each in measured}
    spans = scopes("traces", ExportTraceServiceRequest, "resource_spans", "scope_spans", "spans")
    assert {"POST chat/completions", "chat gpt-4o"} == {each.name for each in spans}
    lines = scopes("logs", ExportLogsServiceRequest, "resource_logs", "scope_logs", "log_records")
    assert any("gateway.request.failed" in each.body.string_value for each in lines)


async def test_a_monitor_that_cannot_be_configured_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Any:
        raise ImportError(PLANTED)

    handlers = list(logging.getLogger("tallygate").handlers)
    telemetry = ExportedTelemetry(10, broken, report_failure)
    for _ in range(2):
        async with asyncio.timeout(FLUSH_SECONDS - 1):
            await telemetry.flush()
    await telemetry.aclose()
    assert "could not be configured" in caplog.text
    assert PLANTED not in caplog.text
    assert logging.getLogger("tallygate").handlers == handlers


async def test_a_process_that_builds_its_gateway_again_exports_again(
    url: str, ingestion: Ingestion, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    settings = {
        "TALLYGATE_STORAGE": "memory",
        "APPLICATIONINSIGHTS_CONNECTION_STRING": f"{KEY};IngestionEndpoint={url}/",
        "TELEMETRY_SAMPLING_RATIO": "1",
    }
    handlers = list(logging.getLogger("tallygate").handlers)
    for number in (1, 2):
        async with running_stack(monkeypatch, tmp_path / str(number), settings) as stack:
            await stack.chat()
            await flush(stack)
        assert len(ingestion.of_kind("RequestData")) == number
        lines = [each["properties"].get("event.name") for each in ingestion.of_kind("MessageData")]
        assert lines.count("gateway.started") == number
    await eventually(lambda: logging.getLogger("tallygate").handlers == handlers)


async def test_a_request_of_the_sample_counts_for_all_that_it_stands_for(
    monitored: Stack, ingestion: Ingestion
) -> None:
    (await monitored.gateway()).telemetry.trace(replace(SPAN, sampled_percent=1))
    await flush(monitored)
    (sent,) = [each for each in ingestion.envelopes if each["data"]["baseType"] == "RequestData"]
    assert sent["sampleRate"] == 1


async def test_each_of_many_tenants_has_its_cost_center(monitored: Stack, ingestion: Ingestion) -> None:
    gateway = await monitored.gateway()
    directory = gateway.tenancy.tenants._tenants
    tenant = (await gateway.tenancy.tenants.get(monitored.tenant)).value
    for number in range(6000):
        await directory.insert(replace(tenant, tenant_id=f"tenant-{number}"), told())
    await timers.describe_tenants(past_due=False)
    lines = [each["properties"] for each in ingestion.of_kind("MessageData")]
    described = {each["gateway.tenant"] for each in lines if each.get("event.name") == "gateway.tenant.described"}
    assert len(described) == 6001
