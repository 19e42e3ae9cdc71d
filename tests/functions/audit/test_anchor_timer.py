"""The timer `anchor_audit` through the host, and the gateway's settings of anchors, over Azurite."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from azure.storage.blob.aio import BlobServiceClient

from local.azurite_server import ACCOUNT
from shared import timers
from shared.adapters.blobs.anchors import BlobAnchors
from shared.application.audit.anchor_log import AnchorsDamaged
from shared.application.audit.verify_anchors import AnchorReplay
from shared.composition.anchors import anchor_origin
from shared.domain.audit.anchor_files import AnchorFiles, checkpoint_path, heads_path, leaf_path
from shared.generated_secrets import generate_key_file
from shared.settings import read_settings
from tests.functions.audit.test_signing_keys import Receiver, receiver
from tests.tools.stack import CHAIN_KEY, AzuriteAccount, Stack, eventually, running_azurite, running_stack

__all__ = ["receiver"]


@pytest.fixture
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AzuriteAccount]:
    """An Azurite for one test alone, because the timer reads every lane, and an account has one log."""
    with running_azurite(tmp_path_factory.mktemp("azurite")) as account:
        yield account


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, str]:
    """Settings of a gateway that anchors."""
    path = tmp_path / "audit-signing-key.pem"
    generate_key_file(path)
    return {"AUDIT_SIGNING_KEY_FILE": str(path)}


async def replayed(stack: Stack) -> AnchorReplay:
    """Verify the gateway's log. Fails for any finding."""
    anchors = (await stack.gateway()).anchors
    assert anchors.signer is not None
    replay, n = AnchorReplay(await anchors.signer.public_keys(), origin=anchors.origin), 0
    while (leaf := await anchors.store.read(leaf_path(n))) is not None:
        heads, checkpoint = await anchors.store.read(heads_path(n)), await anchors.store.read(checkpoint_path(n + 1))
        assert [*replay.add(AnchorFiles(n=n, leaf=leaf, heads=heads, checkpoint=checkpoint))] == []
        n += 1
    assert [*replay.finish()] == []
    return replay


async def test_the_timer_anchors_what_the_gateway_has_booked(
    settings: dict[str, str], azurite: AzuriteAccount, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: Any
) -> None:
    caplog.set_level("INFO")
    async with running_stack(monkeypatch, tmp_path, {**azurite.settings, **settings}) as stack:
        await stack.chat()
        async with stack.session.post(f"{stack.url}/admin/functions/anchor_audit", json={}) as response:
            assert response.status == 202
        await eventually(lambda: '"gateway.timer.count.leaves": 1' in caplog.text)
        await stack.chat()
        await timers.anchor_audit(past_due=True)
        assert '"gateway.timer.count.leaves": 2' in caplog.text
        replay = await replayed(stack)
        assert (replay.origin, replay.signed_size) == (f"tallygate/{ACCOUNT}", 2)
        (head,) = replay.heads.values()
        (*_, entry) = await stack.entries()
        assert (head.seq, head.head) == (entry["seq"], entry["hash"])


async def test_witnesses_get_the_checkpoint_and_all_files(
    settings: dict[str, str],
    azurite: AzuriteAccount,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    receiver: Receiver,
) -> None:
    container = "anchors-copied"
    witnesses = {
        "AUDIT_WITNESS_URL": receiver.url,
        "AUDIT_WITNESS_CONTAINER_URL": f"{azurite.blob_endpoint}/{container}",
        "AUDIT_ANCHOR_ORIGIN": "example.com/gateway",
    }
    async with running_stack(monkeypatch, tmp_path, {**azurite.settings, **settings, **witnesses}) as stack:
        anchors = (await stack.gateway()).anchors
        await timers.anchor_audit(past_due=False)
        key = {"account_name": ACCOUNT, "account_key": azurite.key}
        copies = BlobAnchors(lambda: BlobServiceClient(azurite.blob_endpoint, credential=key), container)
        for path in (heads_path(0), leaf_path(0), checkpoint_path(1)):
            assert await copies.read(path) == await anchors.store.read(path) is not None
        await copies.aclose()
        ((_, posted),) = receiver.got
        assert posted.startswith(b"example.com/gateway\n1\n")


async def test_a_gateway_without_a_key_says_that_nothing_is_anchored(stack: Stack, caplog: Any) -> None:
    await timers.anchor_audit(past_due=False)
    assert "gateway.anchors.off" in caplog.text
    assert (await stack.gateway()).anchors.signer is None


async def test_a_gateway_in_memory_anchors_in_memory(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with running_stack(monkeypatch, tmp_path, {"TALLYGATE_STORAGE": "memory", **settings}) as stack:
        await stack.chat()
        await timers.anchor_audit(past_due=False)
        replay = await replayed(stack)
        assert (replay.origin, replay.signed_size) == ("tallygate/memory", 1)


async def test_a_file_that_was_removed_stops_the_timer(
    settings: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with running_stack(monkeypatch, tmp_path, {"TALLYGATE_STORAGE": "memory", **settings}) as stack:
        await timers.anchor_audit(past_due=False)
        store: Any = (await stack.gateway()).anchors.store
        del store.files[leaf_path(0)]
        with pytest.raises(AnchorsDamaged, match=leaf_path(0)):
            await timers.anchor_audit(past_due=False)


@pytest.mark.parametrize(
    ("changes", "origin"),
    [
        ({}, "tallygate/books"),
        ({"TALLYGATE_STORAGE_ACCOUNT_NAME": "named"}, "tallygate/named"),
        ({"AUDIT_ANCHOR_ORIGIN": "example.com/1"}, "example.com/1"),
    ],
)
def test_the_log_has_the_name_of_its_account_unless_it_is_set(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], origin: str
) -> None:
    endpoints = {
        "TALLYGATE_TABLE_ENDPOINT": "https://books.table.core.windows.net",
        "TALLYGATE_BLOB_ENDPOINT": "https://books.blob.core.windows.net",
        "AUDIT_CHAIN_KEY": CHAIN_KEY,
    }
    for name, value in {**endpoints, **changes}.items():
        monkeypatch.setenv(name, value)
    assert anchor_origin(read_settings()) == origin
