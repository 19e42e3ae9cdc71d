"""Books for the command line: files of one period, and an Azurite that holds the same period."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from azure.storage.blob.aio import BlobServiceClient

from local.azurite_server import ACCOUNT
from shared.adapters.blobs.reports import BlobReports
from shared.adapters.documents.pricing import DocumentPrices
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.adapters.in_memory.table_store import InMemoryTableStore
from shared.adapters.tables.archive import PeriodArchive
from shared.adapters.tables.documents import TableDocuments
from shared.adapters.tables.ledger import TableLedger
from shared.adapters.tables.rest_store import RestTableStore, SharedKey
from shared.adapters.tables.store import Merge, TableStore
from shared.domain.audit.hash_chain import HashChain, KeyRing
from tests.contract.storage.conftest import table_service
from tests.tools.ledgers import PERIOD, PRICES, ManualClock, account, charge, reservation
from tests.tools.stack import CHAIN_KEY, AzuriteAccount, running_azurite

TENANTS = ("acme", "bolt")
MANY_TENANTS = tuple(f"tenant-{number:02}" for number in range(25))


@dataclass(frozen=True, slots=True)
class Files:
    """Files of `tallygate backup`: one whose books are right, and two with changed balances."""

    right: Path
    wrong: Path
    """The balance of the first of `TENANTS` was changed."""
    all_wrong: Path
    """The balances of all `MANY_TENANTS` were changed."""


async def serve_one_request_each(store: TableStore, tenants: Sequence[str]) -> None:
    """Write the books of tenants that made one request each."""
    ledger = TableLedger(store, HashChain(KeyRing(keys={"0": CHAIN_KEY.encode()})), ManualClock())
    for tenant in tenants:
        held = reservation(tenant)
        await ledger.reserve(account(tenant), held)
        await ledger.settle(held, charge())


async def change_balance(store: TableStore, tenant: str) -> None:
    """Change the balance of a tenant without an entry for it."""
    table, partition = f"ledger{PERIOD.replace('-', '')}", f"{tenant}|00"
    row = await store.get(table, partition, "B")
    assert row is not None
    await store.submit(table, partition, [Merge("B", {"used_tokens": 1}, row.etag)], "tamper")


async def write_files(made: Files) -> None:
    """Write all files."""
    store, many, prices = InMemoryTableStore(), InMemoryTableStore(), DocumentPrices(InMemoryDocuments())
    for price in PRICES:
        await prices.restore(price)
    await serve_one_request_each(store, TENANTS)
    await PeriodArchive(store, prices).export(PERIOD, made.right)
    await change_balance(store, TENANTS[0])
    await PeriodArchive(store, prices).export(PERIOD, made.wrong)
    await serve_one_request_each(many, MANY_TENANTS)
    for tenant in MANY_TENANTS:
        await change_balance(many, tenant)
    await PeriodArchive(many, prices).export(PERIOD, made.all_wrong)


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    folder = tmp_path_factory.mktemp("archives")
    made = Files(right=folder / "right.gz", wrong=folder / "wrong.gz", all_wrong=folder / "all_wrong.gz")
    asyncio.run(write_files(made))
    return made


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a command that needs no storage account."""
    monkeypatch.setenv("AUDIT_CHAIN_KEY", CHAIN_KEY)
    monkeypatch.setenv("TALLYGATE_STORAGE", "memory")


@pytest.fixture
def account_settings(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AzuriteAccount]:
    """The environment of a command over an empty Azurite of its own: verification reads every tenant that there is."""
    with running_azurite(tmp_path_factory.mktemp("azurite")) as empty:
        for name, value in {"AUDIT_CHAIN_KEY": CHAIN_KEY, "TALLYGATE_STORAGE": "tables", **empty.settings}.items():
            monkeypatch.setenv(name, value)
        yield empty


async def change_balance_in(account: AzuriteAccount) -> None:
    """Change the balance of the first of `TENANTS` in an Azurite."""
    store = RestTableStore(account.table_endpoint, SharedKey(ACCOUNT, account.key))
    try:
        await change_balance(store, TENANTS[0])
    finally:
        await store.aclose()


async def write_damaged_price_in(account: AzuriteAccount) -> None:
    """Write a row into the price book of an Azurite that the gateway cannot read."""
    async with table_service(account.table_endpoint, account.key) as service:
        await TableDocuments(service).put("prices", "gpt-4o", "odd", "{")


async def write_manifest_in(account: AzuriteAccount, content: bytes) -> None:
    """Write the manifest of the period's statements into an Azurite."""
    key = {"account_name": ACCOUNT, "account_key": account.key}
    reports = BlobReports(lambda: BlobServiceClient(account.blob_endpoint, credential=key))
    await reports.write_once(f"{PERIOD}/manifest.json", content)
