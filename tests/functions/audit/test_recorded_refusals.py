"""Refused requests and the use of the admin key are in the audit log, and nobody can write it full."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from shared.adapters.documents.audit import DocumentOutbox
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.application.audit.count_refusals import CountRefusals, Refusal
from shared.application.audit.record_audit import Actor, RecordAudit
from shared.application.audit.record_refusals import RecordRefusals
from shared.application.audit.record_sign_ins import RecordSignIns
from shared.application.background import Background
from shared.domain.errors import StorageUnavailable
from tests.functions.audit.test_audit_log import logged
from tests.tools.events import waiting
from tests.tools.ledgers import ManualClock
from tests.tools.stack import Stack


class Outage(InMemoryDocuments):
    """Documents that cannot be written while `is_down`; an answer is lost if `loses_answers`."""

    is_down = False
    loses_answers = False

    async def append(self, *arguments: Any) -> None:
        if self.is_down:
            raise StorageUnavailable("gone")
        await super().append(*arguments)
        if self.loses_answers:
            raise StorageUnavailable("cut")


async def test_refusals_of_a_minute_are_one_event_with_tenant_key_reason_and_source(stack: Stack) -> None:
    gateway = await stack.gateway()
    path = f"/manage/tenants/{stack.tenant}"
    await stack.manage("PATCH", path, {"monthly_quota_tokens": 0})
    for _ in range(3):
        assert (await stack.chat())[0] == 429
    (key,) = (await stack.manage("GET", f"{path}/keys"))["data"]
    await stack.manage("DELETE", f"{path}/keys/{key['key_id']}")
    assert (await stack.chat())[0] == 401
    assert (await stack.chat(key="wrong"))[0] == 401
    gateway.refusals.flush()
    await gateway.background.drain()
    (event,) = await logged(stack, "&action=access")
    assert event["action"] == "access.denied"
    assert event["count"] == 5
    assert len(event["minute"]) == len("2026-11-22T12:00Z")
    known = {"tenant": stack.tenant, "key": key["key_id"]}
    by_reason = {each["reason"]: each for each in event["refusals"]}
    assert by_reason["quota_exceeded"] == {"reason": "quota_exceeded", **known, "source": "", "count": 3}
    assert by_reason["key_ended"] == {"reason": "key_ended", **known, "source": "127.0.0.1", "count": 1}
    assert by_reason["invalid_api_key"] == {
        "reason": "invalid_api_key", "tenant": "", "key": "", "source": "127.0.0.1", "count": 1
    }  # fmt: skip
    assert await logged(stack, f"&object={stack.tenant}&action=access") == [event]
    assert await logged(stack, "&object=another&action=access") == []


@pytest.mark.parametrize("stack_settings", [{"MAX_BODY_BYTES": "500"}], indirect=True)
async def test_refusals_of_each_status_are_recorded(stack: Stack) -> None:
    gateway, path = await stack.gateway(), f"/manage/tenants/{stack.tenant}"
    backend = {"endpoint": f"{stack.simulator_url}/eastus", "upstream_deployment": "gpt-4o", "model": "unpriced"}
    statuses = [(await stack.chat(key="wrong"))[0], (await stack.chat("x" * 1000))[0]]
    await stack.manage("PATCH", path, {"monthly_quota_tokens": 0})
    statuses.append((await stack.chat())[0])
    await stack.manage("PATCH", path, {"monthly_quota_tokens": None})
    await stack.manage("PUT", "/manage/backends/se-gpt-4o", {**backend, "region": "eastus", "auth": "api_key"})
    statuses.append((await stack.chat())[0])
    await stack.manage("POST", f"{path}/suspend")
    statuses.append((await stack.chat())[0])
    assert statuses == [401, 413, 429, 424, 403]
    gateway.refusals.flush()
    await gateway.background.drain()
    events = await logged(stack, "&action=access")  # two if the minute has changed
    assert {(each["reason"], each["tenant"], each["count"]) for event in events for each in event["refusals"]} == {
        ("invalid_api_key", "", 1),
        ("request_too_large", stack.tenant, 1),
        ("quota_exceeded", stack.tenant, 1),
        ("unpriced_model", stack.tenant, 1),
        ("tenant_suspended", stack.tenant, 1),
    }


async def test_a_gateway_that_is_closed_stores_the_minute_that_it_was_counting(stack: Stack) -> None:
    gateway = await stack.gateway()
    tenants: Any = gateway.tenancy.tenants
    documents = tenants._tenants._documents
    assert (await stack.chat(key="wrong"))[0] == 401
    await gateway.aclose()
    assert [each["count"] for each in await waiting(documents) if each["action"] == "access.denied"] == [1]


async def test_an_attacker_cannot_write_the_log_full() -> None:
    documents, background, clock = InMemoryDocuments(), Background(), ManualClock()
    count = CountRefusals(clock, RecordRefusals(DocumentOutbox(documents), background, clock))
    for number in range(5000):
        count(Refusal(reason="invalid_api_key", source=f"2001:db8:{number:x}::/64"))
    for _ in range(7):
        count(Refusal(reason="quota_exceeded", tenant_id="acme", key_id="acme-1"))
    count.flush()
    count.flush()
    await background.drain()
    (event,) = await waiting(documents)
    assert event["count"] == 5007
    assert len(event["refusals"]) == 200
    assert event["refusals"][0] == {
        "reason": "invalid_api_key", "tenant": "", "key": "", "source": "others", "count": 4000
    }  # fmt: skip
    assert event["refusals"][1]["reason"] == "quota_exceeded"
    assert len(json.dumps(event)) < 40_000


async def test_minutes_that_storage_did_not_take_are_stored_later_in_order_and_once() -> None:
    documents, background, clock = Outage(), Background(), ManualClock()
    record = RecordRefusals(DocumentOutbox(documents), background, clock)
    documents.is_down = True
    for number in range(3):
        clock.seconds = 60 * number
        record(f"minute {number}", {Refusal(reason="x"): 1})
        await background.drain()
    assert await waiting(documents) == []
    documents.is_down, documents.loses_answers = False, True
    record("minute 3", {Refusal(reason="x"): 1})
    await background.drain()
    documents.loses_answers = False
    record("minute 4", {Refusal(reason="x"): 1})
    record("minute 5", {Refusal(reason="x"): 1})
    await background.drain()
    assert sorted(each["minute"] for each in await waiting(documents)) == [f"minute {number}" for number in range(6)]


async def test_an_outage_of_more_than_an_hour_loses_the_oldest_minutes_and_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    documents, background, clock = Outage(), Background(), ManualClock()
    record = RecordRefusals(DocumentOutbox(documents), background, clock)
    documents.is_down = True
    for number in range(62):
        record(f"minute {number}", {Refusal(reason="x"): number + 1})
        await background.drain()
    assert caplog.text.count("gateway.refusals.lost") == 2
    assert '"gateway.count": 1}' in caplog.text


async def test_the_use_of_the_admin_key_is_one_event_for_each_source_and_hour(stack: Stack) -> None:
    await stack.manage("GET", "/manage/periods")
    await stack.manage("GET", "/manage/periods")
    await stack.settled()
    (event,) = await logged(stack, "&action=admin_key")
    assert (event["action"], event["target"], event["source_address"]) == ("admin_key.use", "admin-key", "127.0.0.1")


async def test_another_hour_and_another_source_are_further_events_and_an_outage_only_delays_one() -> None:
    documents, background, clock = Outage(), Background(), ManualClock()
    outbox = DocumentOutbox(documents)
    signed_in = RecordSignIns(RecordAudit(outbox, clock), background, clock, "admin-key")

    async def use(source: str, name: str = "admin-key") -> int:
        signed_in(Actor(name=name, source_address=source))
        await background.drain()
        return len(await waiting(documents))

    assert [await use("192.0.2.1"), await use("192.0.2.1"), await use("192.0.2.2")] == [1, 1, 2]
    assert await use("192.0.2.3", "person:x") == 2
    clock.seconds = 3600
    documents.is_down = True
    assert await use("192.0.2.1") == 2
    documents.is_down = False
    assert await use("192.0.2.1") == 3
    for number in range(1200):
        signed_in(Actor(name="admin-key", source_address=f"203.0.113.{number}"))
    await background.drain()
    assert len(await waiting(documents)) == 2 + 1000


async def test_a_million_sources_need_bounded_memory_and_few_rows() -> None:
    documents, clock, background = InMemoryDocuments(), ManualClock(), Background()
    record, series = RecordRefusals(DocumentOutbox(documents), background, clock), list[int]()

    def keep(minute: str, counts: Mapping[Refusal, int]) -> None:
        series.append(len(counts))
        record(minute, counts)

    count = CountRefusals(clock, keep)
    for number in range(1_000_000):
        count(Refusal(reason="invalid_api_key", source=f"2001:db8:{number >> 16:x}:{number & 0xFFFF:x}::/64"))
        if number % 100_000 == 99_999:
            clock.seconds += 60
    count.flush()
    await background.drain()
    events = await waiting(documents)
    assert len(events) == 10
    assert max(series) == 1001
    assert sum(each["count"] for each in events) == 1_000_000
    assert max(len(json.dumps(each)) for each in events) < 64 * 1024
