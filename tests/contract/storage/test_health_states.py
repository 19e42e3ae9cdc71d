"""A damaged row of the gateway's own state hides no other: timers, instances and verifications."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from shared.adapters.documents.health import DocumentStates
from shared.adapters.documents.store import Documents, key_of
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.adapters.schedules import CronSchedules
from shared.adapters.tables.documents import TableDocuments
from shared.application.health.tell_instance import TellInstance
from shared.application.health.watch_timers import WatchTimers
from shared.domain.health.instance import Instance
from shared.domain.health.timer_run import TimerRun
from shared.domain.health.verification import Verification
from tests.contract.storage.conftest import table_service
from tests.tools.ledgers import NOW, PERIOD, ManualClock
from tests.tools.stack import AzuriteAccount

SOUND: Mapping[type, Any] = {
    TimerRun: TimerRun(timer="sound", instance="i", started_at=NOW, seconds=1.0),
    Instance: Instance(name="sound", version="1", started_at=NOW, seen_at=NOW),
    Verification: Verification(name="sound", period=PERIOD, at=NOW, entries=1),
}
TEXTS: Mapping[type, str] = {
    TimerRun: '{"timer":"t","instance":"i","started_at":"AT","seconds":1,"succeeded_at":"AT"}',
    Instance: '{"name":"t","version":"1","started_at":"AT","seen_at":"AT"}',
    Verification: '{"name":"t","period":"2026-11","at":"AT","entries":1}',
}
"""Rows whose times a test states."""
NO_TIMES = ["2026-11-01T00:00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "tomorrow", "1e400"]


@pytest.fixture
def partition() -> str:
    return f"p-{secrets.token_hex(6)}"


@pytest.mark.parametrize("kind", [*SOUND])
async def test_a_damaged_row_hides_no_other(documents: Documents, partition: str, kind: type) -> None:
    states: DocumentStates[Any] = DocumentStates(documents, partition, kind)
    await states.note("sound", SOUND[kind])
    texts = ["", "no JSON", "[]", "{}", "null", '"\\ud800"', *(TEXTS[kind].replace("AT", each) for each in NO_TIMES)]
    for number, text in enumerate(texts):
        await documents.put("health", partition, f"damaged{number}", text)
    assert await states.all() == {"sound": SOUND[kind]}
    assert await states.get("damaged0") is None


async def test_a_row_without_a_text_hides_no_other(azurite: AzuriteAccount, partition: str) -> None:
    async with table_service(azurite.table_endpoint, azurite.key) as service:
        states: DocumentStates[Any] = DocumentStates(TableDocuments(service), partition, Instance)
        await states.note("sound", SOUND[Instance])
        table = service.get_table_client("health")
        await table.upsert_entity({"PartitionKey": partition, "RowKey": "damaged", "other": 7})
        await table.upsert_entity({"PartitionKey": partition, "RowKey": "number", "document": 7})
        assert await states.all() == {"sound": SOUND[Instance]}
        assert await states.get("damaged") is None


@pytest.mark.parametrize("key", ["2026-11%7Cacme", "2026-11=7cacme", "=32=30=32=36-11=7Cacme"])
async def test_a_row_whose_key_is_another_spelling_hides_no_other(
    documents: Documents, partition: str, key: str
) -> None:
    states: DocumentStates[Any] = DocumentStates(documents, partition, Verification)
    name = f"{PERIOD}|acme"
    await states.note(name, SOUND[Verification])
    await documents.put("health", partition, key, TEXTS[Verification].replace("AT", "2026-11-01T00:00:00Z"))
    found = await states.all()
    assert found[name] == SOUND[Verification]
    assert {key_of(each) for each in found} == {key_of(name)}


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"])
async def test_a_run_at_an_impossible_time_lets_no_other_timer_look_sound(at: str) -> None:
    memory, clock = InMemoryDocuments(), ManualClock()
    await memory.put("health", "timers", key_of("expire_reservations"), TEXTS[TimerRun].replace("AT", at))
    watch = WatchTimers(DocumentStates(memory, "timers", TimerRun), CronSchedules(), clock)
    clock.seconds += 3600
    late = {each.timer: each.is_late for each in await watch()}
    assert late["roll_up_usage"]
    assert late["expire_reservations"]


async def test_an_instance_that_was_seen_in_the_future_is_forgotten() -> None:
    clock = ManualClock()
    instances = DocumentStates(InMemoryDocuments(), "instances", Instance)
    for name, seen in (("ahead", timedelta(days=400)), ("near", timedelta(hours=1))):
        seen_at = NOW + seen
        await instances.note(name, Instance(name=name, version="1", started_at=NOW, seen_at=seen_at))
    assert await TellInstance(instances, clock, "i", "1").forget_old() == 1
    assert [*await instances.all()] == ["near"]
