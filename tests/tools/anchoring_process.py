"""A process that anchors without a pause, until somebody kills it: `python -m tests.tools.anchoring_process`.

Arguments: the endpoints of tables and of blobs, the account's key, the file of the signing key, and the container. It
prints a line for each leaf.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Set
from contextlib import suppress
from pathlib import Path

from azure.storage.blob.aio import BlobServiceClient

from local.azurite_server import ACCOUNT
from shared.adapters.blobs.anchors import BlobAnchors
from shared.adapters.clock import StorageClock
from shared.adapters.documents.jobs import DocumentCursors
from shared.adapters.on_disk.signer import KeyFileSigner
from shared.adapters.tables.documents import TableDocuments
from shared.application.audit.anchor_heads import AnchorHeads
from shared.application.audit.anchor_log import AnchorLog
from shared.domain.audit.anchor_files import ChainHead
from shared.domain.errors import StorageUnavailable
from tests.contract.storage.conftest import table_service
from tests.tools.anchor_logs import ORIGIN, head


class OneChain:
    """A chain that does not change."""

    async def heads(self, final: Set[str]) -> AsyncIterator[ChainHead]:
        yield head("acme|00", 1)


def blob_anchors(endpoint: str, key: str, container: str) -> BlobAnchors:
    credential = {"account_name": ACCOUNT, "account_key": key}
    return BlobAnchors(lambda: BlobServiceClient(endpoint, credential=credential), container)


async def main(tables: str, blobs: str, key: str, key_file: str, container: str) -> None:
    anchors = blob_anchors(blobs, key, container)
    async with table_service(tables, key) as service:
        memory = DocumentCursors(TableDocuments(service))
        log = AnchorLog(anchors, KeyFileSigner(Path(key_file)), memory, StorageClock(), ORIGIN, 60)
        while True:
            with suppress(StorageUnavailable):
                size = (await AnchorHeads(log, [OneChain()])()).size
                sys.stdout.write(f"{size}\n")
                sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
