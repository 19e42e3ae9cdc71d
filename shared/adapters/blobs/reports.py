"""Chargeback files in Azure Blob Storage."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError

from shared.domain.errors import AlreadyExists, StorageUnavailable

if TYPE_CHECKING:
    from azure.storage.blob.aio import BlobServiceClient, ContainerClient

CONTAINER = "chargeback"
_CONTENT_TYPES = {"json": "application/json", "csv": "text/csv; charset=utf-8"}


class BlobReports:
    """Implements `ReportStore` in the container `chargeback`. Connects for each call, because calls are rare."""

    def __init__(self, connect: Callable[[], BlobServiceClient]) -> None:
        self._connect = connect

    async def write_once(self, path: str, content: bytes) -> None:
        try:
            async with self._connect() as service:
                container = service.get_container_client(CONTAINER)
                try:
                    await self._upload(container, path, content)
                except ResourceNotFoundError:  # the container does not exist yet
                    with contextlib.suppress(ResourceExistsError):
                        await container.create_container()
                    await self._upload(container, path, content)
        except AzureError as error:
            raise StorageUnavailable("The report store could not be reached.") from error

    async def _upload(self, container: ContainerClient, path: str, content: bytes) -> None:
        from azure.storage.blob import ContentSettings

        settings = ContentSettings(content_type=_CONTENT_TYPES[path.rpartition(".")[2]])
        try:
            await container.upload_blob(path, content, overwrite=False, content_settings=settings)
        except ResourceExistsError:
            await self._require_same(path, content)

    async def read(self, path: str) -> bytes | None:
        try:
            async with self._connect() as service:
                download = await service.get_blob_client(CONTAINER, path).download_blob()
                return await download.readall()
        except ResourceNotFoundError:
            return None
        except AzureError as error:
            raise StorageUnavailable("The report store could not be reached.") from error

    async def _require_same(self, path: str, content: bytes) -> None:
        """Raise `AlreadyExists` if the file has other content: the same content may be written again."""
        if await self.read(path) != content:
            raise AlreadyExists(f"'{path}' already exists with other content.")
