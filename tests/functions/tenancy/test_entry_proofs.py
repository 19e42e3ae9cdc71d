"""A tenant lists its own entries, and asks for proofs of them."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from shared.application.evidence import prove_entry
from shared.domain.audit.entry_proof import read_proof
from tests.tools.finished_month import write_key
from tests.tools.stack import Stack


async def asked(stack: Stack, path: str, key: str | None = None) -> tuple[int, Any]:
    async with stack.session.get(f"{stack.url}{path}", headers={"api-key": key or stack.key}) as response:
        return response.status, await response.json()


async def test_a_tenant_lists_its_own_entries(stack: Stack) -> None:
    assert (await stack.chat())[0] == 200
    await stack.settled()
    status, page = await asked(stack, "/me/entries")
    assert (status, page["data"]) == (200, list(reversed(await stack.entries())))
    other = await stack.register("other-tenant", name="Other", cost_center="CC-2")
    assert (await asked(stack, "/me/entries", other))[1]["data"] == []


async def test_an_entry_is_not_provable_before_it_is_anchored(stack: Stack) -> None:
    assert (await stack.chat())[0] == 200
    await stack.settled()
    (entry,) = [each for each in await stack.entries() if each["kind"] == "charge"]
    path = f"entries/{entry['rid']}/proof"
    status, refused = await asked(stack, f"/me/{path}")
    assert (status, refused["error"]["code"]) == (409, "not_anchored_yet")
    await stack.manage("GET", f"/manage/tenants/{stack.tenant}/{path}", status=409)
    await stack.manage("GET", f"/manage/tenants/nobody/{path}", status=404)
    other = await stack.register("other-tenant-2", name="Other", cost_center="CC-2")
    for rid in (entry["rid"], "no-rid", "f" * 32, "0" * 32):
        status, refused = await asked(stack, f"/me/entries/{rid}/proof", other)
        assert (status, refused["error"]["code"]) == (404, "not_found")


async def test_an_invented_id_does_not_read_a_whole_lane(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        assert (await stack.chat())[0] == 200
    await stack.settled()
    rids = [each["rid"] for each in await stack.entries() if each["kind"] == "charge"]
    monkeypatch.setattr(prove_entry, "MAX_SEARCHED", 2)
    found = [(await asked(stack, f"/me/entries/{rid}/proof"))[0] for rid in rids]
    assert found == [409, 409, 404]  # all were made within the time by which clocks may differ


@pytest.fixture
def stack_settings(tmp_path: Path) -> dict[str, str]:
    return {"AUDIT_SIGNING_KEY_FILE": str(write_key(tmp_path)[0])}


async def test_an_entry_is_proved_once_it_is_anchored(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(3):
        assert (await stack.chat())[0] == 200
    await stack.settled()
    gateway = await stack.gateway()
    assert gateway.anchors.anchor_heads is not None
    await gateway.anchors.anchor_heads()
    entry = next(each for each in await stack.entries() if each["kind"] == "charge")
    period = f"{datetime.now(UTC):%Y-%m}"
    status, document = await asked(stack, f"/me/entries/{entry['rid']}/proof?period={period}")
    assert (status, document["entry"]["rid"], len(document["followers"])) == (200, entry["rid"], 2)
    assert read_proof(document).head.seq == 3
    path = f"/me/entries/{entry['rid']}/proof?seq="
    assert await asked(stack, f"{path}{entry['seq']}") == (200, document)
    assert (await asked(stack, f"{path}2"))[0] == 404
    for seq in ("", "-1", "1.0", "x", "\u0661", "9" * 16):
        assert (await asked(stack, f"{path}{seq}"))[1]["error"]["param"] == "seq"
    monkeypatch.setattr(prove_entry, "MAX_FOLLOWERS", 1)
    status, refused = await asked(stack, f"/me/entries/{entry['rid']}/proof")
    assert (status, refused["error"]["code"]) == (409, "entry_not_provable")
