"""One suite of documents with audit events over memory and Azurite: a change and its event are stored, or neither."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from shared.adapters.documents.audit import DocumentOutbox, sha256_of
from shared.adapters.documents.pricing import DocumentPrices
from shared.adapters.documents.routing import DocumentCatalog
from shared.adapters.documents.store import Document, Documents, OutboxRow, Pending
from shared.adapters.documents.tenancy import DocumentKeys, DocumentTenants
from shared.adapters.tables.documents import TableDocuments
from shared.domain.errors import AlreadyExists, VersionConflict
from shared.domain.identifiers import rid_at
from shared.domain.routing.catalog import Backend, Deployment
from shared.domain.tenancy.keys import new_gateway_key, successor_of
from shared.domain.tenancy.tenant import Tenant
from tests.contract.storage.conftest import table_service
from tests.tools.events import told
from tests.tools.ledgers import NOW, PRICES
from tests.tools.stack import AzuriteAccount

FIRST, SECOND, THIRD = (OutboxRow(number * 32, f"event {number}") for number in "123")


async def pending(documents: Documents, table: str) -> list[str]:
    return sorted(each.text for each in await documents.pending(table, 100))


async def read(documents: Documents, table: str, partition: str = "p", key: str = "k") -> Document:
    found = await documents.get(table, partition, key)
    assert found is not None
    return found


async def events_of(documents: Documents, table: str, partition: str) -> list[dict[str, Any]]:
    """Return the waiting events of one partition, in the order of their ids."""
    found = [each for each in await documents.pending(table, 10_000) if each.partition == partition]
    return [json.loads(each.text) for each in sorted(found, key=lambda each: each.event_id)]


async def test_a_document_and_its_event_are_stored_together(documents: Documents, table: str) -> None:
    assert await documents.pending(table, 100) == []
    first = await documents.insert(table, "p", "k", "1", FIRST)
    found = await read(documents, table)
    assert (found.text, found.etag, found.event_id) == ("1", first, FIRST.event_id)
    second = await documents.replace(table, "p", "k", "2", first, SECOND)
    found = await read(documents, table)
    assert (found.text, found.etag, found.event_id) == ("2", second, SECOND.event_id)
    await documents.remove_version(found, table, THIRD)
    assert await documents.get(table, "p", "k") is None
    assert await pending(documents, table) == ["event 1", "event 2", "event 3"]


async def test_a_change_that_is_refused_stores_no_event(documents: Documents, table: str) -> None:
    first = await documents.insert(table, "p", "k", "1", FIRST)
    with pytest.raises(AlreadyExists):
        await documents.insert(table, "p", "k", "x", SECOND)
    await documents.replace(table, "p", "k", "2", first)
    for etag in (first, 'W/"nonsense"'):
        with pytest.raises(VersionConflict):
            await documents.replace(table, "p", "k", "x", etag, SECOND)
    current = await read(documents, table)
    with pytest.raises(VersionConflict):
        await documents.remove_version(replace(current, etag=first), table, SECOND)
    assert (current.text, current.event_id) == ("2", "")
    await documents.remove(table, "p", "k")
    for etag in ("*", current.etag):
        with pytest.raises(VersionConflict):
            await documents.replace(table, "p", "k", "x", etag, SECOND)
    with pytest.raises(VersionConflict):
        await documents.remove_version(current, table, SECOND)
    assert await pending(documents, table) == ["event 1"]


async def test_an_event_without_a_document_waits_once_until_it_is_withdrawn(documents: Documents, table: str) -> None:
    await documents.append(table, "p", FIRST)
    with pytest.raises(AlreadyExists):
        await documents.append(table, "p", FIRST)
    await documents.append(table, "q", FIRST)
    (waiting,) = [each for each in await documents.pending(table, 100) if each.partition == "p"]
    assert waiting == Pending(table=table, partition="p", event_id=FIRST.event_id, text="event 1")
    for _ in range(2):
        await documents.withdraw(waiting)
        assert [each.partition for each in await documents.pending(table, 100)] == ["q"]


async def test_no_list_returns_events_and_no_page_is_shorter_for_them(documents: Documents, table: str) -> None:
    for number, name in enumerate("abcd"):
        await documents.append(table, name, OutboxRow(f"{number:032}", "event"))
        await documents.insert(table, name, "k", name, OutboxRow(f"{number + 10:032}", "event"))
        await documents.append(table, name, OutboxRow(f"{number + 20:032}", "event"))
    await documents.insert(table, "a", "~z", "after the events")
    assert [each.text for each in await documents.list(table)] == ["a", "after the events", "b", "c", "d"]
    assert [each.text for each in await documents.list(table, partition="a")] == ["a", "after the events"]
    assert [each.text for each in await documents.list(table, after="a", limit=2)] == ["b", "c"]
    assert [each.text for each in await documents.list(table, after="c", limit=2)] == ["d"]
    assert len(await documents.pending(table, 5)) == 5
    assert len(await documents.pending(table, 100)) == 12


async def test_a_long_event_is_read_as_it_was_written(documents: Documents, table: str) -> None:
    event = OutboxRow("1" * 32, "\u00fc\u2028" * 35_000)
    await documents.insert(table, "p", "k", "x" * 70_000, event)
    (waiting,) = await documents.pending(table, 1)
    assert waiting.text == event.text


async def test_a_process_of_an_earlier_version_lists_an_event_as_its_document(
    azurite: AzuriteAccount, table: str
) -> None:
    async with table_service(azurite.table_endpoint, azurite.key) as service:
        documents = TableDocuments(service)
        await documents.insert(table, "p", "k", "1", FIRST)
        await documents.remove_version(await read(documents, table), table, SECOND)
        rows = [entity async for entity in service.get_table_client(table).list_entities()]
        assert [(row["RowKey"], row["document"]) for row in rows] == [
            (f"~audit|{FIRST.event_id}", "1"), (f"~audit|{SECOND.event_id}", "1")
        ]  # fmt: skip


async def test_a_row_without_text_among_the_events_is_one_with_an_empty_text(
    azurite: AzuriteAccount, table: str
) -> None:
    async with table_service(azurite.table_endpoint, azurite.key) as service:
        client = await service.create_table(table)
        await client.create_entity({"PartitionKey": "p", "RowKey": "~audit|x", "other": 1})
        (waiting,) = await TableDocuments(service).pending(table, 100)
        assert (waiting.event_id, waiting.text) == ("x", "")


async def test_a_tenant_is_changed_with_its_event(documents: Documents, table: str) -> None:
    tenants, tenant = DocumentTenants(documents), Tenant(tenant_id=table, name="One", created_at=NOW)
    stored = await tenants.insert(tenant, told(after=tenant))
    with pytest.raises(AlreadyExists):
        await tenants.insert(tenant, told(after=tenant))
    renamed = replace(tenant, name="Two")
    await tenants.replace(renamed, stored.etag, told(before=tenant, after=renamed))
    with pytest.raises(VersionConflict):
        await tenants.replace(tenant, stored.etag, told())
    with pytest.raises(VersionConflict):
        await tenants.replace(replace(tenant, tenant_id="nobody"), "*", told())
    created, changed = await events_of(documents, "tenants", table)
    text = (await read(documents, "tenants", table, "tenant")).text
    assert (created["before"], created["after"]["name"]) == (None, "One")
    assert (changed["before"]["name"], changed["after"]["name"]) == ("One", "Two")
    assert created["place"] == changed["place"] == f"tenants/{table}/tenant"
    assert ("", created["after_sha256"], changed["after_sha256"]) == (
        created["before_sha256"], changed["before_sha256"], sha256_of(text)
    )  # fmt: skip


async def test_keys_are_changed_with_their_events(documents: Documents, table: str) -> None:
    keys, (key, _) = DocumentKeys(documents), new_gateway_key(table, NOW, None)
    stored = await keys.insert(key, told(after=key))
    revoked = replace(key, revoked_at=NOW)
    await keys.replace(revoked, stored.etag, told(before=key, after=revoked))
    for lost in (key, replace(key, key_id=f"{table}-unknown")):
        with pytest.raises(VersionConflict):
            await keys.replace(lost, stored.etag, told(before=lost, after=lost))
    created, changed = await events_of(documents, "credentials", table)
    assert (created["after"]["revoked_at"], changed["after"]["revoked_at"]) == (None, "2026-11-22T12:00:00Z")
    assert key.secret_sha256 not in json.dumps([created, changed])
    assert await keys.names() >= {(table, key.key_id)}
    assert len([name for name in await keys.names() if name[0] == table]) == 1


async def test_a_rotation_and_its_two_events_are_stored_together(documents: Documents, table: str) -> None:
    keys, (key, _) = DocumentKeys(documents), new_gateway_key(table, NOW, None)
    stored = await keys.insert(key, told(after=key))
    new, _ = successor_of(key, NOW, None)
    old = replace(key, replaced_by=new.key_id)
    await keys.rotate(old, stored.etag, new, told(before=key, after=old), told(after=new))
    with pytest.raises(VersionConflict):
        await keys.rotate(old, stored.etag, new, told(before=key, after=old), told(after=new))
    await keys.remove(old, told(before=old))
    events = await events_of(documents, "credentials", table)
    of_old = [each for each in events if each["place"].endswith(key.key_id)]
    (of_new,) = [each for each in events if each["place"].endswith(new.key_id)]
    assert [bool(each["before"]) for each in of_old] == [False, True, True]
    assert [bool(each["after"]) for each in of_old] == [True, True, False]
    assert [each["after_sha256"] for each in of_old[:2]] == [each["before_sha256"] for each in of_old[1:]]
    assert (of_new["before"], of_new["after"]["replaces"]) == (None, key.key_id)


async def test_backends_and_deployments_are_changed_only_in_the_version_that_their_events_tell(
    documents: Documents, table: str
) -> None:
    catalog = DocumentCatalog(documents)
    one = Backend(
        backend_id=table, endpoint="https://x.openai.azure.com", upstream_deployment="d", model="m", region="r"
    )
    two = replace(one, weight=0)
    await catalog.put_backend(one, told(after=one))
    await catalog.put_backend(two, told(before=one, after=two))
    for before in (None, one):
        with pytest.raises(VersionConflict):
            await catalog.put_backend(one, told(before=before, after=one))
        with pytest.raises(VersionConflict):
            await catalog.remove_backend(table, told(before=before))
    await catalog.remove_backend(table, told(before=two))
    await catalog.remove_backend(table, told())
    told_of = [each for each in await events_of(documents, "backends", "backend") if table in each["place"]]
    assert [each["after"] and each["after"]["weight"] for each in told_of] == [1, 0, None]
    assert told_of[-1]["after_sha256"] == ""
    deployment = Deployment(name=table, backends=(table,))
    await catalog.put_deployment(deployment, told(after=deployment))
    assert (await catalog.load()).deployments[table] == deployment


async def test_a_backend_that_another_process_inserts_meanwhile_is_a_conflict(
    documents: Documents, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = Backend(backend_id=table, endpoint="e", upstream_deployment="d", model="m", region="r")
    await DocumentCatalog(documents).put_backend(backend, told(after=backend))

    async def nothing(*_: str) -> None:
        return None

    monkeypatch.setattr(documents, "get", nothing)
    with pytest.raises(VersionConflict):
        await DocumentCatalog(documents).put_backend(backend, told(after=backend))


async def test_only_a_new_price_has_an_event(documents: Documents, table: str) -> None:
    prices, price = DocumentPrices(documents), replace(PRICES[0], model=table).normalised()
    assert await prices.insert(price, told(after=price)) == (price, True)
    assert await prices.insert(price, told(after=price)) == (price, False)
    await prices.restore(price)
    (event,) = await events_of(documents, "prices", table)
    assert event["after"]["usd_per_million"] == price.usd_per_million


async def test_a_restored_price_has_an_event_of_the_restore(documents: Documents, table: str) -> None:
    await DocumentPrices(documents).restore(replace(PRICES[0], model=table))
    (event,) = await events_of(documents, "prices", table)
    assert (event["actor"], event["action"]) == ("tallygate restore", "price.restore")


async def test_the_events_of_a_document_ascend_though_the_clock_of_the_second_process_is_behind(
    documents: Documents, table: str
) -> None:
    tenants, tenant = DocumentTenants(documents), Tenant(tenant_id=table, name="One", created_at=NOW)
    await tenants.insert(tenant, told(after=tenant))
    for seconds in (3, 2, 1):
        at = NOW - timedelta(seconds=seconds)
        tenant = replace(tenant, lanes=seconds)
        await tenants.replace(tenant, "*", replace(told(after=tenant), event_id=rid_at(at), at=at))
    found = await events_of(documents, "tenants", table)
    assert [each["after"]["lanes"] for each in found] == [1, 3, 2, 1]
    assert {each["at"] for each in found} == {"2026-11-22T12:00:00.000Z"}
    assert (await read(documents, "tenants", table, "tenant")).event_id == found[-1]["event_id"]


async def test_an_event_that_changes_no_document_is_withdrawn_by_its_id(documents: Documents) -> None:
    outbox, event = DocumentOutbox(documents), told()
    await outbox.append(event)
    with pytest.raises(AlreadyExists):
        await outbox.append(event)
    await outbox.withdraw(event)
    assert event.event_id not in [each.event_id for each in await documents.pending("audit", 1000)]
