"""Open the storage of one process: Azure Storage or an emulator, or memory.

Only the SDKs that the settings need are imported, because importing them slows a cold start.
"""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from shared.adapters.clock import StorageClock
from shared.adapters.documents.store import Documents
from shared.adapters.identity.credentials import CachedTokens
from shared.adapters.in_memory.anchors import InMemoryAnchors
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.adapters.in_memory.reports import InMemoryReports
from shared.adapters.in_memory.table_store import InMemoryTableStore
from shared.adapters.tables.rest_store import BearerToken, RestTableStore, SharedKey
from shared.adapters.tables.store import InspectableStore
from shared.adapters.tables.time_hooks import time_hooks
from shared.application.ports.anchors import AnchorStore
from shared.application.ports.billing import ReportStore
from shared.settings import Settings

if TYPE_CHECKING:
    from azure.storage.blob.aio import BlobServiceClient

_CONNECT_SECONDS: Final = 3.0
_ANSWER_SECONDS: Final = 8.0
"""The longest silence of the table service while a document is read. It takes up to 5 s for a page of a list.

The SDK's own bound is five minutes, for which requests would wait and revoked keys could be thought valid.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """The ledger's tables, the documents, the report files, and the files of anchors."""

    store: InspectableStore
    documents: Documents
    reports: ReportStore
    anchors: AnchorStore
    witness: AnchorStore | None = None
    """A second container for the files of anchors."""


async def open_storage(
    settings: Settings, tokens: CachedTokens, clock: StorageClock, resources: AsyncExitStack
) -> Storage:
    """Make the clients of the storage account that the settings name. `resources` closes them. Sends no request."""
    if settings.tallygate_storage == "memory":
        return Storage(
            store=InMemoryTableStore(),
            documents=InMemoryDocuments(),
            reports=InMemoryReports(),
            anchors=InMemoryAnchors(),
        )

    from azure.core.credentials import AzureNamedKeyCredential
    from azure.data.tables.aio import TableServiceClient

    from shared.adapters.blobs.anchors import BlobAnchors
    from shared.adapters.blobs.reports import BlobReports
    from shared.adapters.tables.documents import TableDocuments

    account, key = settings.tallygate_storage_account_name, settings.tallygate_storage_account_key.get_secret_value()
    credential = AzureNamedKeyCredential(account, key) if key else tokens.credential
    authorization = SharedKey(account, key) if key else BearerToken(tokens)
    store = RestTableStore(settings.tallygate_table_endpoint, authorization, clock=clock)
    resources.push_async_callback(store.aclose)
    service = await resources.enter_async_context(
        TableServiceClient(
            settings.tallygate_table_endpoint,
            credential=credential,
            retry_total=0,
            connection_timeout=_CONNECT_SECONDS,
            read_timeout=_ANSWER_SECONDS,
            **time_hooks(clock),
        )
    )

    def connect_blobs(endpoint: str = settings.tallygate_blob_endpoint) -> BlobServiceClient:
        from azure.storage.blob.aio import BlobServiceClient

        blob_credential = {"account_name": account, "account_key": key} if key else tokens.credential
        return BlobServiceClient(endpoint, credential=blob_credential)

    anchors, witness = BlobAnchors(connect_blobs), None
    resources.push_async_callback(anchors.aclose)
    if settings.audit_witness_container_url:
        endpoint, _, container = settings.audit_witness_container_url.rpartition("/")
        witness = BlobAnchors(lambda: connect_blobs(endpoint), container)
        resources.push_async_callback(witness.aclose)
    return Storage(
        store=store,
        documents=TableDocuments(service),
        reports=BlobReports(connect_blobs),
        anchors=anchors,
        witness=witness,
    )
