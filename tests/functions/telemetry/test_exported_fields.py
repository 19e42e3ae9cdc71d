"""Every line, span and metric arrives with its fields, and nothing arrives that the gateway has not made itself."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import _logs, metrics, trace

from local.emulators.ingestion import Ingestion
from shared import timers
from shared.application.structured_log import log_event
from shared.domain.telemetry.events import EVENTS
from shared.domain.telemetry.instruments import INSTRUMENTS
from tests.functions.telemetry.test_export import flush, ingestion, monitored, url
from tests.tools.stack import Stack, running_stack

__all__ = ["ingestion", "monitored", "url"]
CALLER = "4bf92f3577b34da6a3ce929d0e0e4736"


def fields_of(event: str) -> dict[str, str]:
    """Return a value for each field of an event."""
    (declared,) = [each.fields for each in EVENTS if each.name == event]
    return {name.replace("*", "lanes"): f"{event} {name}" for name in declared} | {"gateway.request_id": "r1"}


async def test_a_line_of_every_event_arrives_with_its_fields(monitored: Stack, ingestion: Ingestion) -> None:
    await flush(monitored)
    ingestion.envelopes.clear()
    for each in EVENTS:
        log_event(logging.ERROR, each.name, fields_of(each.name))
    await flush(monitored)
    lines = ingestion.of_kind("MessageData")
    arrived = {each["properties"].pop("event.name"): each["properties"] for each in lines}
    assert len(arrived) == len(lines)
    assert arrived == {each.name: {**fields_of(each.name), "logger_name": "tallygate"} for each in EVENTS}
    assert {each["severityLevel"] for each in lines} == {3}


async def test_a_line_of_every_event_reaches_a_collector_of_otlp(
    url: str, ingestion: Ingestion, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

    settings = {"TALLYGATE_STORAGE": "memory", "OTEL_EXPORTER_OTLP_ENDPOINT": url}
    async with running_stack(monkeypatch, tmp_path, settings) as stack:
        await flush(stack)
        ingestion.otlp.clear()
        for each in EVENTS:
            log_event(logging.ERROR, each.name, fields_of(each.name))
        await flush(stack)
    arrived: dict[str, dict[str, str]] = {}
    for body in ingestion.otlp["logs"]:
        request = ExportLogsServiceRequest()
        request.ParseFromString(body)
        for record in request.resource_logs[0].scope_logs[0].log_records:
            attributes = {each.key: each.value.string_value for each in record.attributes}
            arrived[record.event_name or attributes["event.name"]] = attributes
    for each in EVENTS:
        assert fields_of(each.name).items() <= arrived[each.name].items()


async def test_a_span_arrives_with_what_its_entry_has(monitored: Stack, ingestion: Ingestion) -> None:
    parent = "00f067aa0ba902b7"
    _, headers, _ = await monitored.chat(headers={"traceparent": f"00-{CALLER}-{parent}-00"})
    await flush(monitored)
    (entry,) = await monitored.entries()
    spans = {each["data"]["baseType"]: each for each in ingestion.envelopes}
    request, attempt = spans["RequestData"], spans["RemoteDependencyData"]
    assert {each["tags"]["ai.operation.id"] for each in (request, attempt)} == {CALLER}
    assert request["tags"]["ai.operation.parentId"] == parent
    assert attempt["tags"]["ai.operation.parentId"] == request["data"]["baseData"]["id"]
    assert entry["rid"].endswith(attempt["data"]["baseData"]["id"])
    found = attempt["data"]["baseData"]["properties"]
    assert found == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "azure.ai.openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.response.model": "gpt-4o",
        "gen_ai.usage.input_tokens": str(entry["usage"]["input"]),
        "gen_ai.usage.output_tokens": str(entry["usage"]["output"]),
        "gen_ai.usage.cache_read.input_tokens": "0",
        "gateway.backend": "se-gpt-4o",
        "gateway.region": "swedencentral",
        "gateway.deployment": "gpt-4o",
        "gateway.cost_usd": found["gateway.cost_usd"],
        "gateway.streamed": "0",
    }
    assert float(found["gateway.cost_usd"]) == pytest.approx(float(entry["cost_usd"]))
    told = request["data"]["baseData"]["properties"]
    assert told["gateway.request_id"] == headers["x-gateway-request-id"]
    assert (told["gateway.tenant"], told["gateway.deployment"]) == (monitored.tenant, "gpt-4o")
    assert (told["gateway.attempts"], len(request["tags"]["ai.user.id"])) == ("1", 32)


async def test_what_a_timer_has_measured_and_told_arrives_before_its_run_ends(
    monitored: Stack, ingestion: Ingestion
) -> None:
    await timers.report_health(past_due=False)
    assert "gateway.backends.unavailable" in {each["metrics"][0]["name"] for each in ingestion.of_kind("MetricData")}
    lines = [each["properties"] for each in ingestion.of_kind("MessageData")]
    assert "report_health" in {each.get("gateway.timer") for each in lines}


async def test_what_other_libraries_tell_is_not_exported(monitored: Stack, ingestion: Ingestion) -> None:
    await monitored.chat()
    await flush(monitored)
    with trace.get_tracer("library").start_as_current_span("a span of a library"):
        metrics.get_meter("library").create_counter("library.calls").add(1)
        logging.getLogger("azure.core").warning("a line of a library")
        logging.getLogger("azure.core").error("a line of a library")
    await flush(monitored)
    sent = json.dumps(ingestion.envelopes)
    assert "library" not in sent
    names = {each["metrics"][0]["name"] for each in ingestion.of_kind("MetricData")}
    assert names <= {each.name for each in INSTRUMENTS}
    assert all("event.name" in each["properties"] for each in ingestion.of_kind("MessageData"))


async def test_the_providers_of_the_process_stay_as_they_are(monitored: Stack) -> None:
    def providers() -> list[Any]:
        return [
            type(get()) for get in (trace.get_tracer_provider, metrics.get_meter_provider, _logs.get_logger_provider)
        ]

    before = providers()
    await monitored.chat()
    await flush(monitored)
    assert providers() == before


def test_the_host_leaves_telemetry_to_the_gateway() -> None:
    host = json.loads((Path(__file__).parents[3] / "host.json").read_text())
    assert host["telemetryMode"] == "OpenTelemetry"
