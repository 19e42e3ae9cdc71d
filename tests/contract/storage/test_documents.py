"""One suite of documents and report files over memory and Azurite, and their errors when storage is gone."""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from azure.storage.blob.aio import BlobServiceClient

from local.azurite_server import ACCOUNT
from shared.adapters.blobs.reports import BlobReports
from shared.adapters.documents.pricing import DocumentPrices
from shared.adapters.documents.routing import DocumentCatalog, DocumentHints
from shared.adapters.documents.store import Documents, OutboxRow, Write, key_of
from shared.adapters.documents.tenancy import DocumentTenants
from shared.adapters.in_memory.reports import InMemoryReports
from shared.adapters.tables.documents import TableDocuments
from shared.application.ports.billing import ReportStore
from shared.application.ports.routing import Hint
from shared.domain.errors import AlreadyExists, InvalidRequest, StorageUnavailable, VersionConflict
from shared.domain.routing.catalog import Backend, Deployment
from shared.domain.tenancy.tenant import Tenant
from tests.contract.storage.conftest import table_service
from tests.tools import fault_proxy
from tests.tools.events import told
from tests.tools.ledgers import NOW, PRICES
from tests.tools.stack import AzuriteAccount, free_port


@pytest.fixture(params=["memory", "azurite"])
def reports(request: pytest.FixtureRequest) -> ReportStore:
    if request.param == "memory":
        return InMemoryReports()
    azurite: AzuriteAccount = request.getfixturevalue("azurite")
    credential = {"account_name": ACCOUNT, "account_key": azurite.key}
    return BlobReports(lambda: BlobServiceClient(azurite.blob_endpoint, credential=credential, retry_total=0))


def written(key: str, text: str, etag: str | None) -> Write:
    return Write(key=key, text=text, etag=etag)


EVENT = OutboxRow("1" * 32, "event")


async def test_a_document_is_removed_and_removing_it_again_changes_nothing(documents: Documents, table: str) -> None:
    await documents.remove(table, "p", "k")
    await documents.insert(table, "p", "k", "1")
    for _ in range(2):
        await documents.remove(table, "p", "k")
        assert await documents.get(table, "p", "k") is None


async def test_the_latest_hint_of_each_backend_is_kept(documents: Documents) -> None:
    hints, name = DocumentHints(documents), f"b/{secrets.token_hex(4)}"
    first = Hint(
        backend_id=name, instance="one", noted_at=NOW, down_until=NOW + timedelta(seconds=5), reason="status 500"
    )
    later = replace(first, instance="two", down_until=NOW)
    for hint in (first, later):
        await hints.put(hint)
        assert [each for each in (await hints.load()).readable if each.backend_id == name] == [hint]


async def test_a_document_is_inserted_once_and_replaced_by_version(documents: Documents, table: str) -> None:
    first = await documents.insert(table, "p", "k", "ü1")
    with pytest.raises(AlreadyExists):
        await documents.insert(table, "p", "k", "2")
    second = await documents.replace(table, "p", "k", "2", first)
    assert second != first
    for etag in (first, 'W/"nonsense"'):
        with pytest.raises(VersionConflict):
            await documents.replace(table, "p", "k", "3", etag)
    await documents.replace(table, "p", "k", "4", "*")
    for etag in ("*", first):
        with pytest.raises(VersionConflict):
            await documents.replace(table, "p", "missing", "5", etag)
    found = await documents.get(table, "p", "k")
    assert found is not None
    assert found.text == "4"
    await documents.put(table, "p", "k", "6")
    await documents.put(table, "p", "l", "7")
    assert [document.text for document in await documents.list(table, partition="p")] == ["6", "7"]


async def test_a_transaction_writes_all_documents_or_none(documents: Documents, table: str) -> None:
    first, second = await documents.commit(table, "p", [written("a", "1", None), written("b", "2", None)])
    (third,) = await documents.commit(table, "p", [written("a", "3", first)])
    assert len({first, second, third}) == 3
    for refused, error in (
        ([written("c", "4", None), written("b", "5", None)], AlreadyExists),
        ([written("c", "4", None), written("a", "5", first)], VersionConflict),
        ([written("c", "4", None), written("missing", "5", "*")], VersionConflict),
    ):
        with pytest.raises(error):
            await documents.commit(table, "p", refused)
    assert {each.key: each.text for each in await documents.list(table)} == {"a": "3", "b": "2"}
    await documents.commit(table, "p", [written("a", "x" * 70_000, third), written("b", "6", "*")])
    assert [len(each.text) for each in await documents.list(table)] == [70_000, 1]


async def test_a_transaction_deletes_and_writes_together_or_does_neither(documents: Documents, table: str) -> None:
    first, second = await documents.commit(table, "p", [written("a", "1", None), written("b", "2", None)])
    for removed in (Write(key="a", text=None, etag=second), Write(key="missing", text=None, etag="*")):
        with pytest.raises(VersionConflict):
            await documents.commit(table, "p", [written("b", "3", second), removed])
    assert [each.text for each in await documents.list(table)] == ["1", "2"]
    removed = Write(key="a", text=None, etag=first)
    (third,) = await documents.commit(table, "p", [removed, written("b", "3", second)])
    assert [(each.key, each.etag) for each in await documents.list(table)] == [("b", third)]
    await documents.commit(table, "p", [Write(key="b", text=None, etag="*")])
    assert await documents.list(table) == []


async def test_a_transaction_that_storage_refuses_is_not_written(azurite: AzuriteAccount, table: str) -> None:
    async with table_service(azurite.table_endpoint, azurite.key) as service:
        documents = TableDocuments(service)
        with pytest.raises(StorageUnavailable):
            await documents.commit(table, "p", [written("a", "1", None), written("a", "2", None)])
        assert await documents.list(table) == []


async def test_a_missing_document_reads_as_none(documents: Documents, table: str) -> None:
    assert await documents.get(table, "p", "k") is None
    assert await documents.list(table) == []
    await documents.put(table, "p", "k", "1")
    assert await documents.get(table, "p", "x") is None
    assert await documents.list(table, partition="q") == []


async def test_documents_are_listed_in_order_and_in_pages(documents: Documents, table: str) -> None:
    for name in ("c", "a", "d", "b"):
        await documents.put(table, name, "k", name)
    assert [document.partition for document in await documents.list(table)] == ["a", "b", "c", "d"]
    assert [document.partition for document in await documents.list(table, limit=2)] == ["a", "b"]
    assert [document.partition for document in await documents.list(table, after="b", limit=9)] == ["c", "d"]


async def test_configuration_reads_back_as_it_was_written(documents: Documents) -> None:
    backend = Backend(
        backend_id=f"b/{secrets.token_hex(4)} #?%",
        endpoint="https://x.openai.azure.com",
        upstream_deployment="d",
        model="m",
        region="r",
    )
    deployment = Deployment(name=f"d/{secrets.token_hex(4)}", backends=(backend.backend_id,), max_output_tokens=5)
    catalog = DocumentCatalog(documents)
    await catalog.put_backend(backend, told())
    await catalog.put_deployment(deployment, told())
    loaded = await catalog.load()
    assert loaded.backends[backend.backend_id] == backend
    assert loaded.deployments[deployment.name] == deployment
    prices = DocumentPrices(documents)
    rows = [price.normalised() for price in PRICES]
    for row in rows * 2:
        await prices.insert(row, told())
    stored_rows = (await prices.load()).readable
    assert [row for row in stored_rows if row in rows] == sorted(rows, key=lambda row: row.key_id)
    tenant = Tenant(tenant_id=f"t{secrets.token_hex(4)}", name="Ü", created_at=NOW, tags={"a": "b"}, deployments=("x",))
    stored = await DocumentTenants(documents).insert(tenant, told())
    found = await DocumentTenants(documents).get(tenant.tenant_id)
    assert found == stored


def test_names_become_keys_reversibly() -> None:
    names = ["a/b", "a=2Fb", "a%2Fb", "a b", "ü", "a\\b#c?d"]
    keys = [key_of(name) for name in names]
    assert len(set(keys)) == len(names)
    assert not set("/\\#?%") & set("".join(keys))


async def test_reports_are_written_once(reports: ReportStore) -> None:
    path = f"2026-11/{secrets.token_hex(4)}.json"
    assert await reports.read(path) is None
    await reports.write_once(path, b"1")
    await reports.write_once(path, b"1")
    with pytest.raises(AlreadyExists):
        await reports.write_once(path, b"2")
    assert await reports.read(path) == b"1"


async def test_storage_that_cannot_be_reached_is_unavailable(azurite: AzuriteAccount) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}/{ACCOUNT}"
    async with table_service(nowhere, azurite.key) as service:
        documents = TableDocuments(service)
        for call in (
            documents.get("t", "p", "k"),
            documents.insert("t", "p", "k", "x"),
            documents.replace("t", "p", "k", "x", "*"),
            documents.commit("t", "p", [written("k", "x", None)]),
            documents.put("t", "p", "k", "x"),
            documents.list("t"),
        ):
            with pytest.raises(StorageUnavailable):
                await call
    credential = {"account_name": ACCOUNT, "account_key": azurite.key}
    reports = BlobReports(lambda: BlobServiceClient(nowhere, credential=credential, retry_total=0))
    with pytest.raises(StorageUnavailable):
        await reports.read("x.json")
    with pytest.raises(StorageUnavailable):
        await reports.write_once("x.json", b"")


async def test_a_wrong_account_key_makes_storage_unavailable(azurite: AzuriteAccount) -> None:
    async with table_service(azurite.table_endpoint, "d3Jvbmc=") as service:
        with pytest.raises(StorageUnavailable):
            await TableDocuments(service).get("t", "p", "k")


@pytest.mark.parametrize("text", ["x" * 70_000, "\U0001f600" * 40_000, "\u00fc" * 32_768])
async def test_a_long_document_is_read_as_it_was_written(documents: Documents, table: str, text: str) -> None:
    etag = await documents.insert(table, "p", "k", text)
    await documents.put(table, "p", "k2", text)
    found = await documents.get(table, "p", "k")
    assert found is not None
    assert found.text == text
    assert [each.text for each in await documents.list(table, partition="p")] == [text, text]
    await documents.replace(table, "p", "k", "short", etag)
    found = await documents.get(table, "p", "k")
    assert found is not None
    assert found.text == "short"


async def test_an_object_that_could_not_be_audited_is_refused(documents: Documents) -> None:
    tenant = Tenant(tenant_id=f"t-{secrets.token_hex(6)}", name="x" * 100_000, created_at=NOW)
    with pytest.raises(InvalidRequest, match="too large"):
        await DocumentTenants(documents).insert(tenant, told())


@pytest.mark.parametrize("fault", sorted({*fault_proxy.FAULTS} - {"delay", "duplicate"}))
@pytest.mark.parametrize(
    "call",
    [
        lambda documents, table, _: documents.get(table, "p", "a"),
        lambda documents, table, _: documents.insert(table, "p", "b", "text"),
        lambda documents, table, etag: documents.replace(table, "p", "a", "text", etag),
        lambda documents, table, etag: documents.commit(
            table, "p", [written("a", "text", etag), written("b", "c", None)]
        ),
        lambda documents, table, _: documents.list(table),
        lambda documents, table, _: documents.insert(table, "p", "b", "text", EVENT),
        lambda documents, table, etag: documents.replace(table, "p", "a", "text", etag, EVENT),
        lambda documents, table, _: documents.append(table, "p", EVENT),
        lambda documents, table, _: documents.pending(table, 10),
    ],
    ids=["get", "insert", "replace", "commit", "list", "audited insert", "audited replace", "append", "pending"],
)
async def test_an_answer_that_is_lost_or_cut_is_a_storage_that_cannot_be_reached(
    azurite: AzuriteAccount,
    table: str,
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    call: Callable[[Documents, str, str], Awaitable[object]],
) -> None:
    monkeypatch.setattr(fault_proxy, "FAULTS", (fault,))
    server, _, account = azurite.table_endpoint.rpartition("/")
    async with (
        fault_proxy.FaultProxy(server, 0.0, 0) as proxy,
        table_service(f"{proxy.url}/{account}", azurite.key) as service,
    ):
        documents = TableDocuments(service)
        etag = await documents.insert(table, "p", "a", "text")
        proxy.rate = 1.0
        with pytest.raises(StorageUnavailable):
            await call(documents, table, etag)
