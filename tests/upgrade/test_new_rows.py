"""Rows of today's gateway have the names of the frozen rows, so that earlier versions can read them."""

from __future__ import annotations

from typing import Any

from tests.upgrade.gateway import FrozenGateway
from tests.upgrade.storage import FACTS, OPEN, Fields, Storage, broken_chains

KEY = FACTS["keys"]["live"]["acme"]
SUFFIX = OPEN.replace("-", "")
LANE = f"ledger{SUFFIX}", "acme|00"


def usual_names(rows: dict[str, Fields]) -> set[str]:
    """Return the names that all of these rows have."""
    return set.intersection(*(set(fields) for fields in rows.values()))


async def test_new_entries_continue_the_chain_under_the_same_names(gateway: FrozenGateway, storage: Storage) -> None:
    stated = FACTS["canonical"]["charge"]
    frozen_charge = storage.rows(stated["table"])[stated["table"], stated["partition"]][stated["key"]]
    assert (await gateway.chat(KEY, user="ann"))[0] == 200
    lane = storage.rows("ledger")[LANE]
    newest = lane[max(key for key in lane if key.startswith("E|"))]
    assert frozen_charge.keys() <= newest.keys()
    assert FACTS["balances"]["/".join(LANE)].keys() <= lane["B"].keys()
    assert broken_chains(storage.rows("ledger")) == []


async def test_new_rollups_have_the_same_names(gateway: FrozenGateway, storage: Storage, frozen: Storage) -> None:
    assert (await gateway.chat(KEY, user="somebody new"))[0] == 200
    await gateway.run_timer("roll_up_usage")
    table = f"rollup{SUFFIX}"
    before, after = (each.rows(table)[table, "acme|00"] for each in (frozen, storage))
    (new,) = (fields for key, fields in after.items() if fields.get("user") == "somebody new")
    assert usual_names({key: fields for key, fields in before.items() if key != "W"}) <= new.keys()
    assert after["W"]["seq"] > before["W"]["seq"]


async def test_new_responses_and_holds_have_the_same_names(
    gateway: FrozenGateway, storage: Storage, frozen: Storage
) -> None:
    body: dict[str, Any] = {"model": "gpt-4o", "input": "Hello!", "background": True}
    status, made = await gateway.call("POST", "/openai/v1/responses", body, key=KEY)
    assert status == 200
    before, after = frozen.rows(), storage.rows()
    for where in ((f"responses{SUFFIX}", "acme"), ("responses", "running")):
        assert usual_names(before[where]) <= after[where][made["id"]].keys()
    frozen_holds = {key: fields for key, fields in before[LANE].items() if key.startswith("P|")}
    new_hold = after[LANE]["P|" + after["responses", "running"][made["id"]]["rid"]]
    assert usual_names(frozen_holds) <= new_hold.keys()


async def test_new_documents_have_the_same_names(gateway: FrozenGateway, storage: Storage, frozen: Storage) -> None:
    tables = {"tenants", "credentials", "backends"}
    assert (await gateway.call("PATCH", "/manage/tenants/bare", {"contact": "other@example"}))[0] == 200
    assert (await gateway.call("POST", "/manage/tenants/bare/keys", {}))[0] == 201
    before, after = frozen.documents(*tables), storage.documents(*tables)
    new = {where: document for where, document in after.items() if before.get(where) != document}
    assert {table for table, *_ in new} == tables
    for (table, kind, _), document in new.items():
        partition = kind if table == "backends" else None
        like = {
            key: found for (name, other, key), found in before.items() if name == table and partition in (None, other)
        }
        assert usual_names(like) <= document.keys()
