"""Refusals and failures are reported, and a flood of them does not flood the log."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from shared.application.audit.count_refusals import CountRefusals, Refusal
from shared.application.structured_log import fields_of, log_event, request_id
from shared.domain.errors import LedgerUnavailable
from shared.domain.tenancy.keys import new_gateway_key
from tests.tools.ledgers import NOW, ManualClock
from tests.tools.stack import Stack


def events(caplog: pytest.LogCaptureFixture, name: str) -> list[dict[str, Any]]:
    """Return the fields of all lines of one event, as a reader of the log finds them."""
    found = [each.getMessage().partition(" ") for each in caplog.records if each.name == "tallygate"]
    return [json.loads(fields) for event, _, fields in found if event == name]


async def flushed(stack: Stack, caplog: pytest.LogCaptureFixture) -> dict[tuple[str, str], int]:
    """End the minute. Returns the number of refusals by reason, and by tenant or source."""
    (await stack.gateway()).refusals.flush()
    counted: dict[tuple[str, str], int] = {}
    for each in events(caplog, "gateway.refusals"):
        key = each["error.type"], each.get("gateway.tenant") or each.get("client.address", "")
        counted[key] = counted.get(key, 0) + each["gateway.count"]
    return counted


@pytest.fixture(autouse=True)
def info(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "tallygate")


async def test_refusals_are_one_line_by_tenant_reason_and_minute(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(20):
        await stack.chat(key=new_gateway_key("acme", NOW, None)[1])
    for _ in range(3):
        await stack.manage("GET", "/manage/tenants", status=403, api_key=stack.key)
    await stack.manage("POST", f"/manage/tenants/{stack.tenant}/suspend")
    await stack.chat()
    await stack.manage("POST", f"/manage/tenants/{stack.tenant}/resume")
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"monthly_quota_tokens": 0})
    for _ in range(5):
        await stack.chat()
    lines = len(caplog.records)
    assert await flushed(stack, caplog) == {
        ("invalid_api_key", "127.0.0.1"): 20,
        ("insufficient_role", stack.tenant): 3,
        ("tenant_suspended", stack.tenant): 1,
        ("quota_exceeded", stack.tenant): 5,
    }
    assert len(caplog.records) - lines <= 8  # the minute may have changed once


@pytest.mark.parametrize("stack_settings", [{"MAX_BODY_BYTES": "100"}], indirect=True)
async def test_oversized_bodies_are_counted(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    await stack.chat("x" * 1000)
    assert await flushed(stack, caplog) == {("request_too_large", stack.tenant): 1}


@pytest.mark.parametrize("stack_settings", [{"TRUSTED_PROXY_HOPS": "1"}], indirect=True)
async def test_forged_sources_are_not_counted(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(5):
        headers = {"api-key": "x", "x-forwarded-for": f"6.6.6.{number}, 2001:db8::{number}"}
        async with stack.session.get(f"{stack.url}/me", headers=headers) as response:
            assert response.status == 401
    assert await flushed(stack, caplog) == {("invalid_api_key", "2001:db8::/64"): 5}


async def test_a_refusal_by_configuration_names_request_and_cause_ten_times_a_minute(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    backend = {"endpoint": f"{stack.simulator_url}/eastus", "upstream_deployment": "gpt-4o", "model": "unpriced"}
    await stack.manage("PUT", "/manage/backends/se-gpt-4o", {**backend, "region": "eastus", "auth": "api_key"})
    ids = [(await stack.chat())[1]["x-gateway-request-id"] for _ in range(25)]
    found = events(caplog, "gateway.request.refused")
    assert 10 <= len(found) <= 20  # the minute may have changed once
    assert found[0]["gateway.request_id"] == ids[0]
    assert (found[0]["gateway.tenant"], found[0]["error.type"]) == (stack.tenant, "unpriced_model")
    assert "unpriced" in found[0]["error.message"]
    assert await flushed(stack, caplog) == {("unpriced_model", stack.tenant): 25}


async def test_every_answer_of_5xx_has_a_line(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    await stack.fault(kind="status", status=500)
    status, headers, _ = await stack.chat()
    (line,) = events(caplog, "gateway.request.failed")
    assert (status, line["http.response.status_code"], line["error.type"]) == (502, 502, "backend_error")
    assert (line["gateway.request_id"], line["gateway.tenant"]) == (headers["x-gateway-request-id"], stack.tenant)
    assert line["error.message"]


async def test_a_stream_that_fails_has_a_line(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    await stack.fault(kind="break", after_chunks=3)
    _, headers, _ = await stack.chat(stream=True)
    (line,) = events(caplog, "gateway.stream.failed")
    assert line["gateway.request_id"] == headers["x-gateway-request-id"]
    assert (line["gateway.tenant"], line["gateway.backend"], line["error.type"]) == (
        stack.tenant, "se-gpt-4o", "backend_error",
    )  # fmt: skip


class BrokenTokenizer:
    """A tokenizer whose defect quotes what it was given."""

    def count(self, text: str, model: str) -> int:
        raise ValueError(f"{model} cannot read {text}")


async def test_a_defect_is_answered_with_a_request_id_and_logged_by_its_place(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    gateway: Any = await stack.gateway()
    gateway.inference.serve._resolve._admit._tokenizer = BrokenTokenizer()
    status, headers, body = await stack.chat("a private thing")
    (line,) = events(caplog, "gateway.request.failed")
    assert (status, body["error"]["code"]) == (500, "internal_error")
    assert line["gateway.request_id"] == headers["x-gateway-request-id"]
    assert headers["x-gateway-request-id"] in body["error"]["message"]
    assert line["gateway.exception.type"] == "ValueError"
    assert "in count" in line["gateway.exception.stacktrace"]
    assert "a private thing" not in json.dumps(line)


async def test_breakers_that_open_and_close_name_the_request_and_the_cause(
    stack: Stack, caplog: pytest.LogCaptureFixture
) -> None:
    await stack.fault(kind="status", status=429, headers={"retry-after-ms": "1"})
    _, headers, _ = await stack.chat()
    opened = events(caplog, "gateway.breaker.changed")[0]
    assert opened == {
        "gateway.request_id": headers["x-gateway-request-id"],
        "gateway.backend": "se-gpt-4o",
        "gateway.state": "open",
        "error.message": "status 429",
    }
    ids = [headers["x-gateway-request-id"]]
    while not (closed := events(caplog, "gateway.breaker.changed")[1:]):
        _, headers, _ = await stack.chat()
        ids.append(headers["x-gateway-request-id"])
    assert closed == [{"gateway.request_id": ids[-1], "gateway.backend": "se-gpt-4o", "gateway.state": "closed"}]


@pytest.mark.parametrize("stack_settings", [{"AZURE_OPENAI_API_KEY": "wrong"}], indirect=True)
async def test_a_gateway_that_is_degraded_says_why(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    async with stack.session.get(f"{stack.url}/readyz") as response:
        assert response.status == 200
    (line,) = events(caplog, "gateway.degraded")
    assert line["error.message"] == "failed checks: backends"
    assert len(line["gateway.request_id"]) == 32


def test_a_line_holds_no_control_characters_and_its_fields_are_attributes(caplog: pytest.LogCaptureFixture) -> None:
    log_event(logging.INFO, "gateway.test", {"error.message": 'a\r\n2026 ERROR "forged"\x1b[31m\u202e\u2028', "n.m": 5})
    (record,) = caplog.records
    message = record.getMessage()
    assert message.isascii()
    assert message.isprintable()
    assert json.loads(message.partition(" ")[2])["error.message"].startswith("a\r\n2026")
    assert (vars(record)["event.name"], vars(record)["n.m"]) == ("gateway.test", 5)


def test_an_error_is_described_by_its_own_message_and_the_type_of_its_cause() -> None:
    try:
        try:
            raise ValueError("a prompt")
        except ValueError as cause:
            raise LedgerUnavailable("No answer.") from cause
    except LedgerUnavailable as error:
        described = fields_of(error)
    assert (described["error.message"], described["gateway.exception.cause"]) == ("No answer.", "ValueError")
    assert "error.message" not in fields_of(ValueError("a prompt"))


async def test_the_number_of_lines_a_minute_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    count = CountRefusals(clock, max_series=3)
    request_id.set("the request that ends the minute")
    for number in range(100):
        count(Refusal(reason="invalid_api_key", source=f"203.0.113.{number}"))
        count(Refusal(reason="quota_exceeded", tenant_id=f"tenant-{number}"))
    clock.seconds += 60
    assert count(Refusal(reason="quota_exceeded", tenant_id="tenant-0")) == 1
    found = events(caplog, "gateway.refusals")
    assert len(found) == 5
    assert not any("gateway.request_id" in each for each in found)
    assert sum(each["gateway.count"] for each in found) == 200
    assert {each.get("gateway.tenant") for each in found} == {None, "tenant-0", "others"}
    assert {each["gateway.minute"] for each in found} == {f"{NOW:%Y-%m-%dT%H:%MZ}"}
    count.flush()
    count.flush()
    assert len(events(caplog, "gateway.refusals")) == 6
