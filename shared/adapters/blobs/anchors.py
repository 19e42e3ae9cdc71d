"""Files of anchors in Azure Blob Storage. The container should have an immutability policy (docs/guide/auditors.md)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Final

from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError

from shared.domain.errors import StorageUnavailable

if TYPE_CHECKING:
    from azure.storage.blob.aio import BlobServiceClient, ContainerClient

CONTAINER: Final = "anchors"
MAX_FILE_BYTES: Final = 64 * 1024 * 1024
"""A larger file is none of ours. It reads as an empty one, so that it does not exhaust memory."""
_SECONDS: Final = 30.0


class BlobAnchors:
    """Implements `AnchorStore` in a container, by default `anchors`. Connects when it is first used."""

    def __init__(self, connect: Callable[[], BlobServiceClient], container: str = CONTAINER) -> None:
        self._connect = connect
        self._name = container
        self._service: BlobServiceClient | None = None

    async def create(self, path: str, content: bytes) -> bool:
        with _translated_errors():
            async with asyncio.timeout(_SECONDS):
                try:
                    return await self._created(path, content)
                except ResourceNotFoundError:  # the container does not exist yet
                    with contextlib.suppress(ResourceExistsError):
                        await self._container().create_container()
                    return await self._created(path, content)

    async def read(self, path: str) -> bytes | None:
        with _translated_errors():
            async with asyncio.timeout(_SECONDS):
                try:
                    download = await self._container().download_blob(path)
                    return await download.readall() if download.size <= MAX_FILE_BYTES else b""
                except ResourceNotFoundError:
                    return None

    async def names(self, folder: str) -> AsyncIterator[str]:
        with _translated_errors():
            try:
                async for name in self._container().list_blob_names(name_starts_with=f"{folder}/"):
                    yield name
            except ResourceNotFoundError:
                return

    async def aclose(self) -> None:
        """Close the connections."""
        if self._service is not None:
            await self._service.close()

    async def _created(self, path: str, content: bytes) -> bool:
        try:  # `overwrite=False` sends `If-None-Match: *`
            await self._container().upload_blob(path, content, overwrite=False)
        except ResourceExistsError:
            return False
        return True

    def _container(self) -> ContainerClient:
        if self._service is None:
            self._service = self._connect()
        return self._service.get_container_client(self._name)


@contextlib.contextmanager
def _translated_errors() -> Iterator[None]:
    try:
        yield
    except (AzureError, TimeoutError) as error:
        raise StorageUnavailable("The container of anchors could not be reached.") from error
