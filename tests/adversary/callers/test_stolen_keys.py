"""A stolen key is of no use elsewhere, tells its holder nothing, and is noticed."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from shared.domain.tenancy.keys import new_gateway_key
from tests.tools.ledgers import NOW
from tests.tools.stack import Stack
from tests.tools.watched_keys import stored_alerts

OFFICE, THIEF = "203.0.113.7", "198.51.100.9"
BEHIND_A_PROXY = pytest.mark.parametrize("stack_settings", [{"TRUSTED_PROXY_HOPS": "1"}], indirect=True)


async def call(stack: Stack, key: str, forwarded_for: str | None, path: str = "") -> tuple[int, dict[str, str], Any]:
    headers = {"api-key": key} | ({} if forwarded_for is None else {"X-Forwarded-For": forwarded_for})
    body = {"messages": [{"role": "user", "content": "Hello!"}]}
    method, url, sent = ("GET", stack.url + path, None) if path else ("POST", stack.chat_url, body)
    async with stack.session.request(method, url, json=sent, headers=headers) as response:
        return response.status, {name.lower(): text for name, text in response.headers.items()}, await response.json()


async def alerts_of(stack: Stack) -> list[dict[str, Any]]:
    await stack.settled()
    directory: Any = (await stack.gateway()).tenancy.tenants._tenants
    return await stored_alerts(directory._documents)


async def restricted_key(stack: Stack) -> dict[str, Any]:
    created: dict[str, Any] = await stack.manage(
        "POST", f"/manage/tenants/{stack.tenant}/keys", {"address_ranges": [f"{OFFICE}/32"]}
    )
    return created


@BEHIND_A_PROXY
async def test_a_stolen_key_gets_the_answer_of_an_unknown_one(stack: Stack) -> None:
    key = (await restricted_key(stack))["key"]
    unknown = new_gateway_key(stack.tenant, NOW, None)[1]
    assert (await call(stack, key, OFFICE))[0] == 200
    for path in ("", "/me", "/me/usage", "/manage/tenants", "/openai/v1/models"):
        answers = [await call(stack, each, THIEF, path) for each in (key, unknown)]
        shown = [
            (status, headers.keys(), headers.get("www-authenticate"), answer["error"]["code"],
             answer["error"]["message"].partition(" (request id")[0])
            for status, headers, answer in answers
        ]  # fmt: skip
        assert shown[0] == shown[1]
        assert shown[0][0] == 401
    assert len(await stack.requests()) == len(await stack.entries()) == 1


@BEHIND_A_PROXY
@pytest.mark.parametrize(
    "forwarded_for", [f"{OFFICE}, {THIEF}", f"{OFFICE},{OFFICE},{THIEF}:443", f"{THIEF}", "", None, "unknown", "[::1"]
)
async def test_a_thief_cannot_write_the_address_of_the_office(stack: Stack, forwarded_for: str | None) -> None:
    key = (await restricted_key(stack))["key"]
    assert (await call(stack, key, forwarded_for))[0] == 401
    assert (await call(stack, key, f"{THIEF}, {OFFICE}"))[0] == 200


async def test_without_trusted_proxies_the_header_proves_nothing(stack: Stack) -> None:
    key = (await restricted_key(stack))["key"]
    assert (await call(stack, key, OFFICE))[0] == 401


@BEHIND_A_PROXY
async def test_the_ranges_of_a_tenant_hold_for_all_its_keys(stack: Stack) -> None:
    path = f"/manage/tenants/{stack.tenant}"
    assert (await call(stack, stack.key, THIEF))[0] == 200
    changed = await stack.manage("PATCH", path, {"address_ranges": [OFFICE]})
    assert changed["address_ranges"] == [f"{OFFICE}/32"]
    assert [(await call(stack, stack.key, source))[0] for source in (OFFICE, THIEF, None)] == [200, 401, 401]
    assert "address_ranges" not in (await call(stack, stack.key, OFFICE, "/me"))[2]
    await stack.manage("PATCH", path, {"address_ranges": []})
    assert (await call(stack, stack.key, THIEF))[0] == 200


@BEHIND_A_PROXY
async def test_a_stolen_key_is_an_alert_and_a_counted_refusal(stack: Stack, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "tallygate")
    created = await restricted_key(stack)
    await asyncio.gather(*(call(stack, created["key"], THIEF) for _ in range(20)))
    (alert,) = await alerts_of(stack)
    assert alert["type"] == "tallygate.key.address_refused"
    assert (alert["data"]["key_id"], alert["data"]["network"]) == (created["key_id"], THIEF)
    (await stack.gateway()).refusals.flush()
    lines = [
        record.getMessage().partition(" ")[2]
        for record in caplog.records
        if "gateway.refusals" in record.msg % record.args
    ]
    (line,) = [json.loads(each) for each in lines if "address_not_allowed" in each]
    assert (line["gateway.tenant"], line["gateway.count"]) == (stack.tenant, 20)
    assert created["key"].rpartition("_")[2] not in str(alert) + str(lines)


@BEHIND_A_PROXY
async def test_a_thief_with_many_addresses_cannot_fill_the_outbox(stack: Stack) -> None:
    key = (await restricted_key(stack))["key"]
    for number in range(200):
        await call(stack, key, f"2001:db8:{number:x}::1")
    alerts = await alerts_of(stack)
    assert len(alerts) == 21
    assert {each["type"] for each in alerts} == {"tallygate.key.address_refused", "tallygate.alerts.suppressed"}


async def test_a_key_that_is_used_after_its_end_is_an_alert(stack: Stack) -> None:
    keys = f"/manage/tenants/{stack.tenant}/keys"
    revoked, rotated = [await stack.manage("POST", keys, {}) for _ in range(2)]
    await stack.manage("DELETE", f"{keys}/{revoked['key_id']}")
    await stack.manage("POST", f"{keys}/{rotated['key_id']}/rotate", {"overlap_hours": 0})
    for created in (revoked, rotated):
        for _ in range(3):
            assert (await stack.chat(key=created["key"]))[0] == 401
        assert (await stack.chat(key=created["key"][:-7] + "x" * 7))[0] == 401  # not with its secret
    alerts = await alerts_of(stack)
    assert {each["type"] for each in alerts} == {"tallygate.key.used_after_end"}
    assert sorted(each["data"]["key_id"] for each in alerts) == sorted([revoked["key_id"], rotated["key_id"]])


async def test_a_wrong_secret_is_no_alert(stack: Stack) -> None:
    created = await restricted_key(stack)
    for secret in ("x" * 43, "x"):
        assert (await stack.chat(key=f"tg_{created['key_id']}_{secret}"))[0] == 401
    assert await alerts_of(stack) == []
