"""One suite of the outbox of alerts, their deliveries and their sinks, over memory and Azurite."""

from __future__ import annotations

import asyncio
import json
import secrets
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from shared.adapters.cloud_events import event_of
from shared.adapters.documents.alert_sinks import DocumentSinks
from shared.adapters.documents.alerts import DocumentAlerts
from shared.adapters.documents.deliveries import DocumentDeliveries
from shared.adapters.documents.store import Document, Documents, key_of
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.adapters.tables.documents import TableDocuments
from shared.application.alerts.raise_once import RaiseOnce
from shared.application.alerts.store_alert import StoreAlert
from shared.application.ports.alerts import Backlog, DamagedDelivery
from shared.domain.alerts.alert import AlertKind
from shared.domain.alerts.delivery import Delivery, GivenUp
from shared.domain.alerts.severity import AlertSeverity
from shared.domain.alerts.sink import AlertSink, SinkId, SinkType
from shared.domain.errors import VersionConflict
from tests.contract.storage.conftest import table_service
from tests.tools.alert_receivers import alert, event
from tests.tools.events import told, waiting
from tests.tools.ledgers import NOW
from tests.tools.stack import AzuriteAccount

LATER = NOW + timedelta(minutes=2)
ONE_OF_THREE = [[each == number for each in range(3)] for number in range(3)]


@pytest.fixture
def tenant() -> str:
    return f"t-{secrets.token_hex(6)}"


@pytest.fixture
def sink(tenant: str) -> SinkId:
    return SinkId(tenant, "ops")


def of(sink: SinkId, created_at: datetime | None = None) -> AlertSink:
    return AlertSink(name=sink.name, tenant_id=sink.tenant_id, type=SinkType.SLACK, created_at=created_at)


async def only(documents: Documents, sink: SinkId) -> Delivery:
    (found,) = (await DocumentDeliveries(documents).waiting(sink, 10)).deliveries
    return found


async def names_raised(documents: Documents, tenant: str) -> list[str]:
    events, _ = await DocumentAlerts(documents).raised(1000)
    return [each.name for each in events if each.tenant_id == tenant]


async def test_an_alert_is_stored_once_and_becomes_one_delivery_for_each_sink(
    documents: Documents, tenant: str
) -> None:
    outbox, sinks = DocumentAlerts(documents), [SinkId("", f"p-{tenant}"), SinkId(tenant, "ops")]
    raised = alert(f"{tenant}:2026-11:usd:80", tenant=tenant, threshold="80")
    assert await outbox.add(raised)
    assert not await outbox.add(raised)
    assert await names_raised(documents, tenant) == [f"budget.threshold:{tenant}:2026-11:usd:80"]
    stored = event(f"{tenant}:2026-11:usd:80", tenant=tenant, threshold="80")
    assert await outbox.with_successors(tenant, raised.kind, raised.event_id) == [stored]
    assert await outbox.with_successors(tenant, raised.kind, "another") == []
    await asyncio.gather(*(outbox.fan_out(stored, sinks, NOW) for _ in range(3)))
    await outbox.fan_out(stored, [SinkId("", "later")], NOW)
    for each in sinks:
        delivery = await only(documents, each)
        assert (delivery.event, delivery.attempts, delivery.due, delivery.stored_at) == (stored, 0, NOW, NOW)
    assert (await DocumentDeliveries(documents).waiting(SinkId("", "later"), 10)).deliveries == []
    assert await names_raised(documents, tenant) == []
    assert not await outbox.add(raised)
    assert await outbox.with_successors(tenant, raised.kind, raised.event_id) == [stored]
    assert list(await outbox.of_owner(tenant)) == [stored]


async def test_a_row_of_an_earlier_version_is_fanned_out_like_any_other(documents: Documents, sink: SinkId) -> None:
    outbox, tenant = DocumentAlerts(documents), sink.tenant_id
    earlier = {
        "specversion": "1.0",
        "id": f"{tenant}-1:203.0.113.7:2026-11-22T12",
        "source": "/tallygate",
        "type": "tallygate.key.address_refused",
        "subject": f"tenants/{tenant}/keys/{tenant}-1",
        "time": "2026-11-22T12:00:00.000Z",
        "datacontenttype": "application/json",
        "data": {"tenant_id": tenant, "key_id": f"{tenant}-1", "network": "203.0.113.7"},
    }
    row = ("alerts", "key.address_refused", key_of(str(earlier["id"])), json.dumps(earlier))
    await documents.insert(*row)
    events, _ = await outbox.raised(1000)
    (found,) = [each for each in events if each.tenant_id == tenant]
    assert (found.severity, found.kind) == (AlertSeverity.WARNING, "key.address_refused")
    await outbox.fan_out(found, [sink], NOW)
    await documents.insert(*row)  # a process of an earlier version, which does not know the log, sees it again
    await outbox.fan_out(found, [sink], LATER)
    assert (await only(documents, sink)).stored_at == NOW
    assert await names_raised(documents, tenant) == []


async def test_rows_that_something_else_wrote_are_set_aside(documents: Documents, tenant: str) -> None:
    outbox = DocumentAlerts(documents)
    foreign = json.dumps({"id": "other", "type": "tallygate.a", "subject": "", "time": ""})
    for key, text in ((f"{tenant}-1", "nonsense"), (f"{tenant}-2", foreign), (f"{tenant}-3", "[]")):
        await documents.insert("alerts", "a.kind", key, text)
    assert await outbox.add(alert("sound", tenant=tenant))
    _, set_aside = await outbox.raised(1000)
    assert {f"a.kind/{tenant}-{number}" for number in (1, 2, 3)} <= {*set_aside}
    assert not [each for each in (await outbox.raised(1000))[1] if tenant in each]
    kept = await documents.list("alerts", partition="~damaged")
    assert sorted(each.text for each in kept if tenant in each.key) == sorted(["nonsense", foreign, "[]"])
    assert await names_raised(documents, tenant) == ["budget.threshold:sound"]


async def test_an_event_of_the_log_that_cannot_be_read_stops_no_other(documents: Documents, tenant: str) -> None:
    outbox = DocumentAlerts(documents)
    for name in ("damaged", "sound"):
        await outbox.fan_out(event(name, tenant=tenant), [], NOW)
    await documents.put("alertlog", tenant, key_of("budget.threshold:damaged"), "nonsense")
    assert not await outbox.add(alert("damaged", tenant=tenant))
    assert await outbox.with_successors(tenant, AlertKind.BUDGET_THRESHOLD, "damaged") == []
    assert [each.event_id for each in await outbox.of_owner(tenant)] == ["sound"]
    assert await outbox.forget(NOW + timedelta(days=1), 1000) >= 1
    assert await outbox.of_owner(tenant) == []
    await documents.remove("alertlog", tenant, key_of("budget.threshold:damaged"))


async def test_successors_of_an_alert_are_found_before_and_after_they_are_fanned_out(
    documents: Documents, tenant: str
) -> None:
    outbox, name = DocumentAlerts(documents), f"{tenant}:2026-11:usd:80"
    names = [name, f"{name}:200.00", f"{name}:above:200.00"]
    for each in (*names, f"{tenant}:2026-11:usd:8", f"{name}0", f"{name};", f"{name}-1", "ü" * 300):
        assert await outbox.add(alert(each, tenant=tenant))
    kind = AlertKind.BUDGET_THRESHOLD
    assert [each.event_id for each in await outbox.with_successors(tenant, kind, name)] == names
    await outbox.fan_out(event(names[1], tenant=tenant), [], NOW)
    found = [each.event_id for each in await outbox.with_successors(tenant, kind, name)]
    assert found == [names[0], names[2], names[1]]
    assert [each.event_id for each in await outbox.with_successors(tenant, kind, "ü" * 300)] == ["ü" * 300]


async def test_processes_that_see_several_limits_at_once_tell_ascending_ones(documents: Documents, tenant: str) -> None:
    outbox, name = DocumentAlerts(documents), f"{tenant}:2026-11:usd:80"

    async def tell(limit: str) -> bool:
        return await RaiseOnce(StoreAlert(outbox), outbox)(alert(name, tenant=tenant, limit=limit))

    told_now = await asyncio.gather(*map(tell, ("100", "300", "250", "300", "200", "100")))
    stored = await outbox.with_successors(tenant, AlertKind.BUDGET_THRESHOLD, name)
    assert len(stored) == sum(told_now)
    limit_of = {each.event_id: each.data["limit"] for each in stored}
    told_limits = [limit_of[name]]
    while (successor := f"{name}:above:{told_limits[-1]}") in limit_of:
        told_limits.append(limit_of[successor])
    assert len(told_limits) == len(stored)
    assert told_limits == sorted({*told_limits})
    assert told_limits[-1] == "300"
    assert not any(await asyncio.gather(*map(tell, ("100", "300", "250"))))


async def test_events_are_listed_once_before_while_and_after_they_are_fanned_out(
    documents: Documents, tenant: str
) -> None:
    outbox = DocumentAlerts(documents)
    older = alert(f"older-{tenant}", tenant=tenant, at=NOW - timedelta(seconds=1))
    for each in (
        older,
        alert(f"newer-{tenant}", AlertKind.POOL_DOWN, tenant),
        alert(f"other-{tenant}", tenant=f"{tenant}-2"),
    ):
        assert await outbox.add(each)
    await documents.insert("alerts", "a.kind", f"{tenant}-damaged", "nonsense")
    (row,) = [
        each for each in await documents.list("alerts", partition=older.kind) if key_of(older.event_id) == each.key
    ]
    for _ in range(2):
        assert [each.event_id for each in await outbox.of_owner(tenant)] == [f"newer-{tenant}", older.event_id]
        await outbox.fan_out(event_of(older), [], NOW)
        await documents.put("alerts", row.partition, row.key, row.text)  # a process that died on the way leaves it
    await documents.remove("alerts", row.partition, row.key)
    assert len(await outbox.of_owner(tenant)) == 2
    await outbox.raised(1000)


async def test_a_list_reads_a_bounded_number_of_events_that_wait() -> None:
    reads: list[int | None] = []

    class Counting(InMemoryDocuments):
        async def list(
            self,
            table: str,
            *,
            partition: str | None = None,
            after: str = "",
            before: str = "",
            limit: int | None = None,
        ) -> list[Document]:
            found = await super().list(table, partition=partition, after=after, before=before, limit=limit)
            reads.append(len(found))
            return found

    outbox = DocumentAlerts(Counting())
    for number in range(600):
        assert await outbox.add(alert(f"n{number}", tenant="noisy" if number else "quiet"))
    assert len(await outbox.of_owner("noisy")) == 499
    assert [each.event_id for each in await outbox.of_owner("quiet")] == ["n0"]
    assert reads == [500, 0] * 2


async def test_only_one_process_gets_the_lease_of_a_delivery(documents: Documents, sink: SinkId) -> None:
    deliveries = DocumentDeliveries(documents)
    await deliveries.add(sink, event(tenant=sink.tenant_id), NOW)
    delivery = await only(documents, sink)
    leased = [each for each in [await deliveries.lease(delivery, LATER) for _ in range(3)] if each is not None]
    assert [(each.attempts, each.due) for each in leased] == [(1, LATER)]
    assert await only(documents, sink) == leased[0]
    await deliveries.postpone(leased[0], NOW + timedelta(minutes=9))
    await deliveries.postpone(leased[0], NOW)  # a process whose lease is over changes nothing
    assert (await only(documents, sink)).due == NOW + timedelta(minutes=9)


async def test_a_delivery_ends_once_and_is_remembered(documents: Documents, sink: SinkId) -> None:
    deliveries, sent = DocumentDeliveries(documents), event(tenant=sink.tenant_id)
    await deliveries.add(sink, sent, NOW)
    delivery = await only(documents, sink)
    assert not await deliveries.was_delivered(delivery)
    for _ in range(2):
        await deliveries.delivered(delivery, NOW)
    assert await deliveries.was_delivered(delivery)
    assert (await deliveries.waiting(sink, 10)).deliveries == []
    await deliveries.add(sink, sent, NOW)  # by a process that had stopped for a while
    await deliveries.delivered(await only(documents, sink), NOW)
    assert (await deliveries.waiting(sink, 10)).deliveries == []
    assert await deliveries.backlog(of(sink)) == Backlog(0, 0)


async def test_a_delivery_that_is_given_up_is_audited_and_can_be_revived(documents: Documents, sink: SinkId) -> None:
    deliveries = DocumentDeliveries(documents)
    for name in ("one", "two"):
        await deliveries.add(sink, event(name, tenant=sink.tenant_id), NOW)
    first, second = (await deliveries.waiting(sink, 10)).deliveries
    leased = await deliveries.lease(first, LATER)
    assert leased is not None
    dead = GivenUp(kind="k", alert=sink.tenant_id, subject="s", attempts=7, cause="The sink answered 500.")
    assert await deliveries.give_up(leased, NOW, dead.cause, told(after=dead))
    assert not await deliveries.give_up(leased, NOW, dead.cause, told(after=dead))
    told_of = [each["after"] for each in await waiting(documents) if sink.tenant_id in str(each["after"])]
    assert [each["attempts"] for each in told_of] == [7]
    assert await deliveries.backlog(of(sink)) == Backlog(1, 1)
    await documents.insert("alerts", f"~sink|{sink.tenant_id}|ops", "~dead|a-foreign-row", "nonsense")
    assert await deliveries.revive(of(sink), LATER, 10) == 1
    revived, kept = (await deliveries.waiting(sink, 10)).deliveries
    assert (revived.event, revived.attempts, revived.due, revived.stored_at) == (first.event, 0, LATER, LATER)
    assert kept == second
    assert await deliveries.revive(of(sink), LATER, 10) == 0


async def test_what_was_given_up_for_an_earlier_sink_of_the_name_is_not_revived(
    documents: Documents, sink: SinkId
) -> None:
    deliveries, since = DocumentDeliveries(documents), NOW + timedelta(seconds=1)
    for name, at in (("a-earlier", NOW), ("b-earlier", NOW), ("later", since), ("waits", NOW)):
        await deliveries.add(sink, event(name, tenant=sink.tenant_id, at=at), LATER)
    for each in (await deliveries.waiting(sink, 10)).deliveries[:3]:
        assert await deliveries.give_up(each, LATER, "It is gone.", told())
    put_again = of(sink, since)
    assert await deliveries.backlog(of(sink)) == Backlog(1, 3)
    assert await deliveries.backlog(put_again) == Backlog(0, 1)
    assert await deliveries.revive(put_again, LATER, 1) == 1
    revived = [each.event.event_id for each in (await deliveries.waiting(sink, 10)).deliveries]
    assert revived == ["later", "waits"]
    for each in (await deliveries.waiting(sink, 10)).deliveries:
        await deliveries.drop(each)
        await deliveries.drop(each)
    assert await deliveries.backlog(of(sink)) == Backlog(0, 2)


async def test_deliveries_are_read_in_pages_with_those_that_are_damaged(documents: Documents, sink: SinkId) -> None:
    deliveries, names, after = DocumentDeliveries(documents), [], ""
    damaged: list[DamagedDelivery] = []
    for number in range(5):
        await deliveries.add(sink, event(f"n{number}", tenant=sink.tenant_id), NOW)
    for key in ("a-foreign-row", "z-foreign-row", "~dead|a-foreign-row"):
        await documents.insert("alerts", f"~sink|{sink.tenant_id}|ops", key, "nonsense")
    while True:
        page = await deliveries.waiting(sink, 2, after)
        names += [each.event.event_id for each in page.deliveries]
        damaged += page.damaged
        if not (after := page.after):
            break
    assert names == [f"n{number}" for number in range(5)]
    assert [(each.sink_id, each.key) for each in damaged] == [(sink, "a-foreign-row"), (sink, "z-foreign-row")]
    assert await deliveries.backlog(of(sink)) == Backlog(5, 0, 3)
    assert await asyncio.gather(*(deliveries.set_aside(damaged[0]) for _ in range(3))) in ONE_OF_THREE
    assert not await deliveries.set_aside(damaged[0])
    assert await deliveries.backlog(of(sink)) == Backlog(5, 0, 3)
    (kept,) = await documents.list("alerts", partition=f"~damaged|{sink.tenant_id}|ops")
    assert (kept.key, kept.text) == ("a-foreign-row", "nonsense")
    assert [each.key for each in (await deliveries.waiting(sink, 10)).damaged] == ["z-foreign-row"]


async def test_rows_without_a_document_are_damaged_and_stop_no_other(azurite: AzuriteAccount, sink: SinkId) -> None:
    async with table_service(azurite.table_endpoint, azurite.key) as service:
        documents = TableDocuments(service)
        deliveries, outbox = DocumentDeliveries(documents), DocumentAlerts(documents)
        assert await outbox.add(alert(f"sound-{sink.tenant_id}", tenant=sink.tenant_id))
        await deliveries.add(sink, event("sound", tenant=sink.tenant_id), NOW)
        table = service.get_table_client("alerts")
        for partition in (f"~sink|{sink.tenant_id}|ops", "a.kind"):
            await table.create_entity({"PartitionKey": partition, "RowKey": f"a-{sink.tenant_id}", "other": 1})
        events, set_aside = await outbox.raised(1000)
        assert f"a.kind/a-{sink.tenant_id}" in set_aside
        assert f"budget.threshold:sound-{sink.tenant_id}" in [each.name for each in events]
        page = await deliveries.waiting(sink, 10)
        assert [each.event.event_id for each in page.deliveries] == ["sound"]
        assert await deliveries.set_aside(page.damaged[0])
        assert await deliveries.backlog(of(sink)) == Backlog(1, 0, 1)


async def test_what_ended_is_forgotten_after_a_time_and_what_waits_too(documents: Documents, sink: SinkId) -> None:
    deliveries, outbox = DocumentDeliveries(documents), DocumentAlerts(documents)
    for name, at in (("old", NOW - timedelta(days=40)), ("new", NOW)):
        stored = event(name, tenant=sink.tenant_id)
        await outbox.fan_out(stored, [sink], at)
        delivery = next(each for each in (await deliveries.waiting(sink, 10)).deliveries if each.event == stored)
        await deliveries.delivered(delivery, at)
    await deliveries.add(sink, event("waits", tenant=sink.tenant_id), NOW - timedelta(days=40))
    await documents.insert("alerts", f"~sink|{sink.tenant_id}|ops", "a-foreign-row", "nonsense")
    before = NOW - timedelta(days=30)
    assert await deliveries.forget(before, 1) == 1
    assert await deliveries.forget(before, 100) >= 1
    left = await documents.list("alerts", partition=f"~sink|{sink.tenant_id}|ops")
    assert [each.key for each in left] == ["a-foreign-row", f"~done|{key_of('budget.threshold:new')}"]
    assert len(await outbox.of_owner(sink.tenant_id)) == 2
    assert await outbox.forget(NOW - timedelta(days=1), 100) == 0
    assert await outbox.forget(NOW + timedelta(days=1), 1) == 1
    assert await outbox.forget(NOW + timedelta(days=1), 1000) >= 1
    assert await outbox.of_owner(sink.tenant_id) == []


async def test_a_long_name_is_stored_under_its_hash(documents: Documents, sink: SinkId) -> None:
    outbox, name = DocumentAlerts(documents), "ü" * 300
    assert await outbox.add(alert(name, AlertKind.MODEL_UNPRICED, sink.tenant_id))
    (found,) = [each for each in (await outbox.raised(1000))[0] if each.tenant_id == sink.tenant_id]
    await outbox.fan_out(found, [sink], NOW)
    assert (await only(documents, sink)).event.event_id == name
    assert not await outbox.add(alert(name, AlertKind.MODEL_UNPRICED, sink.tenant_id))


async def test_a_sink_is_inserted_replaced_and_removed_by_version(documents: Documents, sink: SinkId) -> None:
    sinks = DocumentSinks(documents)
    stored = AlertSink(name="ops", tenant_id=sink.tenant_id, type=SinkType.SLACK, address_secret="a", kinds=("b.c",))
    assert await sinks.get(sink) is None
    first = await sinks.put(stored, None, told(after=stored))
    with pytest.raises(VersionConflict):
        await sinks.put(stored, None, told(after=stored))
    changed = replace(stored, enabled=False, minimum_severity=AlertSeverity.ERROR)
    second = await sinks.put(changed, first, told(before=stored, after=changed))
    assert await sinks.get(sink) == (changed, second)
    assert await sinks.of_owner(sink.tenant_id) == [(changed, second)]
    with pytest.raises(VersionConflict):
        await sinks.put(stored, first, told())
    with pytest.raises(VersionConflict):
        await sinks.remove(sink, first, told())
    await documents.insert("alertsinks", sink.tenant_id, "damaged", "nonsense")
    found, damaged = await sinks.all()
    assert changed in found
    assert f"{sink.tenant_id}/damaged" in damaged
    await documents.remove("alertsinks", sink.tenant_id, "damaged")
    await sinks.remove(sink, second, told(before=changed))
    assert await sinks.of_owner(sink.tenant_id) == []
    with pytest.raises(VersionConflict):
        await sinks.remove(sink, second, told())
