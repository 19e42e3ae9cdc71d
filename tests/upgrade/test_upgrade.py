"""Today's gateway serves from rows that an earlier one has stored, verifies them and closes the month."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.upgrade.gateway import FrozenGateway, running_gateway, verified
from tests.upgrade.storage import (
    ANSWERS,
    CLOSED,
    FACTS,
    FROZEN,
    OPEN,
    Storage,
    archived_rows,
    running_storage,
)

LIVE, REFUSED = FACTS["keys"]["live"], FACTS["keys"]["refused"]
LEDGER = f"ledger{OPEN.replace('-', '')}"
TENANTS: dict[str, dict[str, Any]] = {
    each["tenant_id"]: each for each in next(each for each in ANSWERS if "/tenants?" in each["path"])["answer"]["data"]
}


def missing(stated: Any, found: Any, where: str = "") -> Iterator[str]:
    """List the fields that an answer lacks or states otherwise. It may have more."""
    if isinstance(stated, dict) and isinstance(found, dict):
        for name, value in stated.items():
            yield from missing(value, found.get(name, "nothing"), f"{where}.{name}")
    elif isinstance(stated, list) and isinstance(found, list) and len(stated) == len(found):
        for number, (one, other) in enumerate(zip(stated, found, strict=True)):
            yield from missing(one, other, f"{where}[{number}]")
    elif stated != found:
        yield f"{where} was {stated!r} and is {found!r}"


async def all_findings(gateway: FrozenGateway) -> list[str]:
    """Return the findings in the books of both frozen months."""
    return await gateway.findings(CLOSED) + await gateway.findings(OPEN)


def rids(storage: Storage, kind: str) -> set[str]:
    """Return the reservations with a row of this kind in the open month."""
    keys = (key for (table, _), lane in storage.rows(LEDGER).items() for key in lane if table == LEDGER)
    return {key[2:] for key in keys if key.startswith(f"{kind}|")}


async def test_every_answer_reads_back(reader: FrozenGateway) -> None:
    credentials = {"admin": FACTS["admin_key"], **LIVE}
    lost: list[str] = []
    for stated in ANSWERS:
        found = await reader.read(stated["path"], key=credentials[stated["key"]])
        lost += missing(stated["answer"], found, stated["path"])
    assert lost == []


def test_an_answer_that_lost_a_field_is_noticed() -> None:
    stated = {"a": 1, "b": [{"c": None}]}
    assert list(missing(stated, {**stated, "more": 2})) == []
    assert list(missing(stated, {"a": 2, "b": [{}]})) == [".a was 1 and is 2", ".b[0].c was None and is 'nothing'"]
    assert len(list(missing(stated, {"a": 1, "b": []}))) == 1


async def test_the_books_verify_with_all_acknowledged_requests(reader: FrozenGateway, tmp_path: Path) -> None:
    told = tmp_path / "told"
    for period, request_ids in FACTS["acknowledged"].items():
        told.write_text("\n".join(request_ids))
        assert await reader.findings(period, "--acknowledged", str(told)) == []
    told.write_text("never-booked")
    assert len(await reader.findings(OPEN, "--acknowledged", str(told))) == 1


async def test_archives_verify(reader: FrozenGateway) -> None:
    for archive in FACTS["archives"]:
        assert await reader.archive_findings(FROZEN / archive["file"]) == []


NEW_KEY = {"AUDIT_CHAIN_KEYS": "2=corpus-not-a-secret-either-01234", "AUDIT_CHAIN_KEY_VERSION": "2"}


async def test_frozen_entries_verify_by_the_only_key_of_their_time_after_its_rotation(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, value in NEW_KEY.items():
        monkeypatch.setenv(name, value)
    with running_storage(tmp_path) as storage:
        async with running_gateway(monkeypatch, tmp_path, storage) as gateway:
            await gateway.aim_at_simulator()
            assert (await gateway.chat(LIVE["acme"]))[0] == 200
            status, document = await verified("--period", OPEN)
    assert (status, document["findings"]) == (0, [])
    assert {(each["method"], each["key_version"]) for each in document["chained"]} == {("hmac", "0"), ("sha256", "2")}


async def test_without_the_first_key_frozen_entries_are_not_said_to_hold(
    reader: FrozenGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {**NEW_KEY, "AUDIT_CHAIN_KEY": ""}.items():
        monkeypatch.setenv(name, value)
    for archive in FACTS["archives"]:
        status, document = await verified("--archive", str(FROZEN / archive["file"]))
        assert (status, document["findings"], document["holds"]["I2"]) == (2, [], None)
        (chained,) = document["chained"]
        reason = f"{chained['entries']} entries cannot be proved without key version 0, which is missing"
        assert {"invariant": "I2", "reason": reason} in document["not_checked"]


async def test_an_export_has_the_rows_of_the_frozen_archive(reader: FrozenGateway, tmp_path: Path) -> None:
    for archive in FACTS["archives"]:
        await reader.export(archive["period"], tmp_path / archive["file"])
        rows = archived_rows(tmp_path / archive["file"])
        assert rows == archived_rows(FROZEN / archive["file"])
        assert sum(map(len, rows.values())) == archive["rows"]


async def test_archives_are_restored_into_an_empty_account(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with running_storage(tmp_path, is_empty=True) as empty:
        async with running_gateway(monkeypatch, tmp_path, empty) as gateway:
            for archive in FACTS["archives"]:
                await gateway.restore(FROZEN / archive["file"])
            assert await all_findings(gateway) == []
            prices = await gateway.read("/manage/prices")
        restored = empty.rows()
    stated = next(each for each in ANSWERS if each["path"] == "/manage/prices")
    assert list(missing(stated["answer"], prices)) == []
    for archive in FACTS["archives"]:
        for where, rows in archived_rows(FROZEN / archive["file"]).items():
            assert restored[where].items() >= rows.items()


async def test_the_findings_of_another_process_about_a_backend_are_known(reader: FrozenGateway) -> None:
    await reader.read("/openai/v1/models", key=LIVE["acme"])
    hint = FACTS["hint"]["document"]
    health = (await reader.read(f"/manage/backends/{hint['backend_id']}"))["health"]
    assert (health["state"], health["is_hinted"], health["reason"]) == ("open", True, hint["reason"])
    open_until, down_until = map(datetime.fromisoformat, (health["open_until"], hint["down_until"]))
    assert abs(open_until - down_until) < timedelta(minutes=1)


async def test_keys_that_were_refused_are_refused(reader: FrozenGateway) -> None:
    answers = {name: await reader.chat(credential) for name, credential in REFUSED.items()}
    assert {name: (status, answer["error"]["code"]) for name, (status, answer) in answers.items()} == {
        "revoked": (401, "invalid_api_key"),
        "expired": (401, "invalid_api_key"),
        "suspended": (403, "tenant_suspended"),
        "gone": (403, "tenant_suspended"),
    }


async def test_every_frozen_key_is_served_and_booked(gateway: FrozenGateway) -> None:
    for credential in LIVE.values():
        tenant = credential.split("_")[1].rpartition("-")[0]
        before = [entry["hash"] for entry in await gateway.entries(tenant, OPEN)]
        status, answer = await gateway.chat(credential)
        assert status == 200, (tenant, answer)
        new = [entry for entry in await gateway.entries(tenant, OPEN) if entry["hash"] not in before]
        charged = [entry["tokens"] for entry in new if entry["kind"] == "charge"]
        assert charged == [answer["usage"]["total_tokens"]]
    assert await gateway.findings(OPEN) == []


async def test_each_gateway_has_a_lane_of_a_hot_tenant(
    storage: Storage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lanes = set()
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        async with running_gateway(monkeypatch, tmp_path / name, storage) as gateway:
            gateway.clock.go_to("2026-10-15T12:12Z")  # the leases of other processes have ended by then
            await gateway.aim_at_simulator()
            assert (await gateway.chat(LIVE["hot"], user=name))[0] == 200
            newest = next(entry for entry in await gateway.entries("hot", OPEN) if entry.get("user") == name)
            lanes.add(newest["lane"])
            assert await gateway.findings(OPEN) == []
    assert lanes == {1, 2}


async def test_frozen_background_responses_are_settled(gateway: FrozenGateway, storage: Storage) -> None:
    made = FACTS["responses"]["background"]
    for each in made:
        gateway.finish_upstream(each)
    running = storage.rows("responses")["responses", "running"]
    for _ in range(2):
        await gateway.run_timer("settle_background_responses")
    booked = await gateway.entries("acme", OPEN) + await gateway.entries("acme", CLOSED)
    for each in made:
        rid = running[each["id"]]["rid"]
        of_one = [entry for entry in booked if entry.get("rid") == rid]
        assert of_one[0]["kind"] == each["entry"]
        assert sum(entry["tokens"] for entry in of_one) == each["usage"]["total_tokens"]
    assert {each["entry"] for each in made} == {"adjust", "charge", "late"}
    assert ("responses", "running") not in storage.rows("responses")
    assert await all_findings(gateway) == []


async def test_a_frozen_response_is_visible_to_its_tenant_alone_and_can_be_followed(gateway: FrozenGateway) -> None:
    for made in FACTS["responses"]["stored"]:
        gateway.finish_upstream(made)
        path = f"/openai/v1/responses/{made['id']}"
        assert await gateway.read(path, key=LIVE["acme"]) == made["document"]
        assert (await gateway.call("GET", path, key=LIVE["hot"]))[0] == 404
        body = {"model": "gpt-4o", "input": "And?", "previous_response_id": made["id"], "store": False}
        assert (await gateway.call("POST", "/openai/v1/responses", body, key=LIVE["acme"]))[0] == 200
    assert await gateway.findings(OPEN) == []


async def test_requests_whose_gateway_died_expire(gateway: FrozenGateway, storage: Storage) -> None:
    held = rids(storage, "P")
    await gateway.run_timer("expire_reservations")
    assert rids(storage, "P") == held
    gateway.clock.go_to("2026-10-15T12:30Z")
    await gateway.run_timer("expire_reservations")
    expired = held - rids(storage, "P")
    assert len(expired) == 3
    assert expired <= rids(storage, "X")
    assert await gateway.findings(OPEN) == []


async def test_an_incomplete_transfer_is_completed(gateway: FrozenGateway) -> None:
    async def on_its_way() -> int:
        moved: list[int] = [entry.get("moved_tokens", 0) for entry in await gateway.entries("hot", OPEN)]
        return -sum(moved)

    assert await on_its_way() == 77
    for _ in range(2):
        await gateway.run_timer("level_lanes")
        assert await on_its_way() == 0
    assert await gateway.findings(OPEN) == []


async def test_rollups_continue_from_their_watermark(gateway: FrozenGateway) -> None:
    path = f"/manage/tenants/acme/usage?period={OPEN}&group_by=deployment,user,day"
    await gateway.chat(LIVE["acme"])
    before = await gateway.read(path)
    await gateway.run_timer("roll_up_usage")
    assert await gateway.read(path) == before
    assert await gateway.findings(OPEN) == []


async def test_a_grant_is_not_made_again(gateway: FrozenGateway) -> None:
    quota = (await gateway.read("/manage/tenants/acme/usage"))["quota_tokens"]
    for grant_id, more in (("corpus-grant-2", 0), ("corpus-grant-9", 7000)):
        grant = {"tokens": 7000, "reason": "another campaign", "grant_id": grant_id}
        status, answer = await gateway.call("POST", "/manage/tenants/acme/grants", grant)
        assert (status, answer["quota_tokens"]) == (201, quota + more)


async def test_a_frozen_tenant_can_be_changed_and_keeps_its_other_settings(gateway: FrozenGateway) -> None:
    for tenant, stated in TENANTS.items():
        status, answer = await gateway.call("PATCH", f"/manage/tenants/{tenant}", {"contact": "new@example"})
        assert (status, list(missing({**stated, "contact": "new@example"}, answer))) == (200, [])


async def test_a_frozen_price_that_is_inserted_again_is_the_same_row(gateway: FrozenGateway) -> None:
    prices = (await gateway.read("/manage/prices"))["data"]
    for price in prices:
        stated = {name: value for name, value in price.items() if name != "price_id"}
        assert await gateway.call("POST", "/manage/prices", stated) == (200, price)
    assert (await gateway.read("/manage/prices"))["data"] == prices


async def test_the_closed_month_is_exported_again_to_the_same_bytes(gateway: FrozenGateway, storage: Storage) -> None:
    await gateway.run_timer("export_chargeback")
    assert storage.files() == FACTS["files"]
    storage.remove_files()
    await gateway.run_timer("export_chargeback")
    assert storage.files() == FACTS["files"]


async def test_the_open_month_closes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with running_storage(tmp_path) as storage:
        async with running_gateway(monkeypatch, tmp_path, storage) as gateway:
            gateway.clock.go_to("2026-11-01T00:01Z")
            await gateway.run_timer("reset_monthly_quotas")
            gateway.clock.go_to("2026-11-03T02:00Z")
            await gateway.run_timer("export_chargeback")
            for tenant in TENANTS.keys() - {"gone"}:
                usage = await gateway.read(f"/manage/tenants/{tenant}/usage?period={OPEN}")
                assert usage["period_state"] == "closed"
            assert await all_findings(gateway) == []
            files = storage.files()
            assert files.keys() - FACTS["files"].keys() == {name.replace(CLOSED, OPEN) for name in FACTS["files"]}
            assert FACTS["files"].items() <= files.items()
            await gateway.aim_at_simulator()
            assert (await gateway.chat(LIVE["acme"]))[0] == 200
            assert await gateway.findings("2026-11") == []
