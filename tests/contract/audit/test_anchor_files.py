"""One suite over the stores of anchor files: in memory, and in Azurite."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator

import pytest
from azure.storage.blob.aio import BlobServiceClient

from local.azurite_server import ACCOUNT
from shared.adapters.blobs import anchors as blob_anchors
from shared.adapters.blobs.anchors import BlobAnchors
from shared.adapters.in_memory.anchors import InMemoryAnchors
from shared.application.ports.anchors import AnchorStore
from shared.domain.errors import StorageUnavailable
from tests.tools.stack import AzuriteAccount, free_port


@pytest.fixture(params=["memory", "azurite"])
async def anchors(request: pytest.FixtureRequest) -> AsyncIterator[AnchorStore]:
    if request.param == "memory":
        yield InMemoryAnchors()
        return
    azurite: AzuriteAccount = request.getfixturevalue("azurite")
    store = BlobAnchors(lambda: at(azurite.blob_endpoint, azurite.key), f"anchors-{secrets.token_hex(4)}")
    yield store
    await store.aclose()


def at(endpoint: str, key: str) -> BlobServiceClient:
    return BlobServiceClient(endpoint, credential={"account_name": ACCOUNT, "account_key": key}, retry_total=0)


async def test_a_file_is_created_once_and_never_changed(anchors: AnchorStore) -> None:
    assert await anchors.read("leaf/0000000000.json") is None
    assert await anchors.create("leaf/0000000000.json", b"first")
    assert not await anchors.create("leaf/0000000000.json", b"second")
    assert not await anchors.create("leaf/0000000000.json", b"first")
    assert await anchors.read("leaf/0000000000.json") == b"first"


async def test_of_many_writers_at_once_one_creates_the_file(anchors: AnchorStore) -> None:
    assert await anchors.create("heads/x", b"")  # the container exists
    created = await asyncio.gather(*(anchors.create("leaf/x", str(each).encode()) for each in range(8)))
    assert created.count(True) == 1
    assert await anchors.read("leaf/x") == str(created.index(True)).encode()


async def test_writers_may_find_no_container_at_the_same_time(anchors: AnchorStore) -> None:
    created = await asyncio.gather(*(anchors.create("leaf/x", b"x") for _ in range(4)))
    assert created.count(True) == 1


async def test_names_are_listed_ascending_and_by_folder(anchors: AnchorStore) -> None:
    assert [name async for name in anchors.names("leaf")] == []
    for name in ("leaf/0000000002.json", "checkpoint/0000000001", "leaf/0000000001.json", "leaf2/x"):
        await anchors.create(name, b"x")
    assert [name async for name in anchors.names("leaf")] == ["leaf/0000000001.json", "leaf/0000000002.json"]


async def test_an_empty_file_is_read(anchors: AnchorStore) -> None:
    await anchors.create("leaf/x", b"")
    assert await anchors.read("leaf/x") == b""


async def test_a_file_that_is_too_large_to_be_ours_is_not_read(
    azurite: AzuriteAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blob_anchors, "MAX_FILE_BYTES", 3)
    store = BlobAnchors(lambda: at(azurite.blob_endpoint, azurite.key), f"anchors-{secrets.token_hex(4)}")
    await store.create("leaf/x", b"four")
    assert await store.read("leaf/x") == b""
    await store.aclose()


async def test_a_service_that_cannot_be_reached_is_told(azurite: AzuriteAccount) -> None:
    store = BlobAnchors(lambda: at(f"http://127.0.0.1:{free_port()}/{ACCOUNT}", azurite.key))
    with pytest.raises(StorageUnavailable):
        await store.create("leaf/x", b"x")
    with pytest.raises(StorageUnavailable):
        await store.read("leaf/x")
    with pytest.raises(StorageUnavailable):
        [name async for name in store.names("leaf")]
    await store.aclose()


async def test_a_store_that_was_never_used_is_closed() -> None:
    await BlobAnchors(lambda: at("http://127.0.0.1:1/x", "a2V5")).aclose()
