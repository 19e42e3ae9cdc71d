"""Open the storage of one process: Azure Storage or an emulator, or memory.

Only the SDKs that the settings need are imported, because importing them slows a cold start.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.adapters.clock import StorageClock
from shared.adapters.documents.store import Documents
from shared.adapters.identity.credentials import CachedTokens
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.adapters.in_memory.reports import InMemoryReports
from shared.adapters.in_memory.table_store import InMemoryTableStore
from shared.adapters.tables.rest_store import BearerToken, RestTableStore, SharedKey
from shared.adapters.tables.store import InspectableStore
from shared.adapters.tables.time_hooks import time_hooks
from shared.application.ports.billing import ReportStore
from shared.settings import Settings

if TYPE_CHECKING:
    from azure.storage.blob.aio import BlobServiceClient


@dataclass(frozen=True, slots=True)
class Storage:
    """The ledger's tables, the documents, and the report files."""

    store: InspectableStore
    documents: Documents
    reports: ReportStore


async def open_storage(
    settings: Settings, tokens: CachedTokens, clock: StorageClock, resources: AsyncExitStack
) -> Storage:
    """Make the clients of the storage account that the settings name. `resources` closes them. Sends no request."""
    if settings.tallygate_storage == "memory":
        return Storage(InMemoryTableStore(), InMemoryDocuments(), InMemoryReports())

    from azure.core.credentials import AzureNamedKeyCredential
    from azure.data.tables.aio import TableServiceClient

    from shared.adapters.blobs.reports import BlobReports
    from shared.adapters.tables.documents import TableDocuments

    account, key = settings.tallygate_storage_account_name, settings.tallygate_storage_account_key.get_secret_value()
    credential = AzureNamedKeyCredential(account, key) if key else tokens.credential
    authorization = SharedKey(account, key) if key else BearerToken(tokens)
    store = RestTableStore(settings.tallygate_table_endpoint, authorization, clock=clock)
    resources.push_async_callback(store.aclose)
    service = await resources.enter_async_context(
        TableServiceClient(settings.tallygate_table_endpoint, credential=credential, retry_total=0, **time_hooks(clock))
    )

    def connect_blobs() -> BlobServiceClient:
        from azure.storage.blob.aio import BlobServiceClient

        blob_credential = {"account_name": account, "account_key": key} if key else tokens.credential
        return BlobServiceClient(settings.tallygate_blob_endpoint, credential=blob_credential)

    return Storage(store, TableDocuments(service), BlobReports(connect_blobs))
