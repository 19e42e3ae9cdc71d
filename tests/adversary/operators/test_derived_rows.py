"""Rows that are derived or only informative may be damaged: they hide no caller and no key."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from local.emulators.entra import EmulatedEntra
from tests.tools.entra import running_entra, settings_of
from tests.tools.stack import Stack


@pytest.fixture
async def entra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[EmulatedEntra]:
    async with running_entra(monkeypatch, tmp_path) as running:
        yield running


@pytest.fixture
def stack_settings(entra: EmulatedEntra) -> dict[str, str]:
    return settings_of(entra)


async def documents_of(stack: Stack) -> Any:
    return (await stack.gateway()).tenancy.keys._keys._documents  # type: ignore[attr-defined]


async def test_rows_that_are_no_principals_stop_no_repair_and_no_caller(stack: Stack, entra: EmulatedEntra) -> None:
    documents, directory, client = await documents_of(stack), entra.directory_id, entra.applications[0].client_id
    damaged = [
        ("garbage", "x"), (f"{directory}|group", "no-tenant"), (f"{directory}|robot|x", stack.tenant),
        (f"{directory}|person|x|y", stack.tenant),
    ]  # fmt: skip
    for partition, key in damaged:
        await documents.put("principals", partition, key, "{}")
    named = {"directory_id": directory, "kind": "application", "id": client, "role": "tenant.use"}
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"entra_principals": [named]})
    await documents.remove("principals", f"{directory}|application|{client}", stack.tenant)
    tenancy = (await stack.gateway()).tenancy
    assert await tenancy.reconcile_principals() == 1
    headers = {"Authorization": f"Bearer {entra.token_of(entra.applications[0])}"}
    async with stack.session.get(f"{stack.url}/me", headers=headers) as response:
        assert response.status == 200


async def test_a_use_that_cannot_be_read_hides_no_key_and_is_written_anew(stack: Stack) -> None:
    path = f"/manage/tenants/{stack.tenant}/keys"
    documents = await documents_of(stack)
    (key,) = (await stack.manage("GET", path))["data"]
    await documents.put("keyuses", stack.tenant, key["key_id"], '"yesterday"')
    assert (await stack.manage("GET", path))["data"][0]["last_used_at"] is None
    assert (await stack.manage("GET", f"{path}/{key['key_id']}"))["last_used_at"] is None
    await stack.chat()
    await stack.settled()
    assert (await stack.manage("GET", f"{path}/{key['key_id']}"))["last_used_at"] is not None
