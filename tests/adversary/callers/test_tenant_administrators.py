"""A tenant's administrator does not get beyond its own tenant: by no path, header, role name or race."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from local.emulators.entra import EmulatedEntra
from local.emulators.entra_objects import Person
from tests.tools.entra import running_entra, settings_of
from tests.tools.stack import Stack

SECRET = "a-contact-of-the-victim"


@pytest.fixture
async def entra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[EmulatedEntra]:
    async with running_entra(monkeypatch, tmp_path) as running:
        yield running


@pytest.fixture
def stack_settings(entra: EmulatedEntra) -> dict[str, str]:
    return settings_of(entra)


@pytest.fixture
async def attacker(stack: Stack, entra: EmulatedEntra) -> dict[str, str]:
    """The headers of an administrator of `stack.tenant`. Another tenant is called `victim`."""
    await stack.register("victim", contact=SECRET, monthly_quota_tokens=1000)
    person = Person(roles=("tenant.admin", "gateway.admin", "Gateway.Admin ", "Gateway", "anyone", "administrator"))
    principal = {
        "directory_id": entra.directory_id,
        "kind": "person",
        "id": person.object_id,
        "role": "tenant.admin",
    }
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"entra_principals": [principal]})
    return {"Authorization": f"Bearer {entra.token_of(person)}"}


async def call(stack: Stack, method: str, path: str, headers: dict[str, str], body: Any = None) -> tuple[int, str]:
    url = URL(stack.url + path, encoded=True)
    async with stack.session.request(method, url, json=body, headers=headers) as response:
        return response.status, await response.text()


PATHS = [
    "/manage/tenants/{own}/../victim/keys", "/manage/tenants/{own}/%2e%2e/victim/keys",
    "/manage/tenants/{own}%2F..%2Fvictim/keys", "/manage/tenants/{own}%2f%2e%2e%2fvictim/keys",
    "/manage/tenants/victim%2Fkeys", "/manage/tenants/victim/keys/", "/MANAGE/TENANTS/victim/KEYS",
    "/manage/tenants//victim/keys", "//manage/tenants/victim/keys", "/manage/tenants/victim/%6beys",
    "/manage/tenants/VICTIM/keys", "/manage/tenants/%76ictim/keys", "/manage/tenants/victim%00/keys",
    "/manage/tenants/{own},victim/keys", "/manage/tenants/*/keys",
    "/manage/tenants/{own}/keys/%2e%2e/%2e%2e/victim/keys",
    "/manage/tenants/victim/keys?tenant={own}", "/manage/tenants/victim/usage", "/manage/tenants/victim/entries",
    "/manage/tenants/victim", "/manage/tenants",
]  # fmt: skip


@pytest.mark.parametrize("header", ["", "own", "victim"])
async def test_no_path_leads_to_another_tenant(stack: Stack, attacker: dict[str, str], header: str) -> None:
    named = {"own": stack.tenant}.get(header, header)
    headers = attacker | ({"x-gateway-tenant": named} if named else {})
    for path in PATHS:
        for method in ("GET", "POST", "PATCH", "DELETE"):
            body: dict[str, str] | None = None if method in ("GET", "DELETE") else {}
            status, text = await call(stack, method, path.format(own=stack.tenant), headers, body)
            assert status in (400, 403, 404, 405), (method, path, status)
            assert SECRET not in text
    assert len((await stack.manage("GET", "/manage/tenants/victim/keys"))["data"]) == 1


async def test_the_path_names_the_tenant_whatever_a_header_says(stack: Stack, attacker: dict[str, str]) -> None:
    path = f"/manage/tenants/{stack.tenant}/usage"
    for named in ("victim", "nobody", stack.tenant):
        assert (await call(stack, "GET", path, attacker | {"x-gateway-tenant": named}))[0] == 200


async def test_a_tenants_administrator_does_not_change_its_own_tenant(stack: Stack, attacker: dict[str, str]) -> None:
    own = f"/manage/tenants/{stack.tenant}"
    for method, path, body in (
        ("PATCH", own, {"monthly_quota_tokens": None}),
        ("DELETE", own, None),
        ("POST", f"{own}/suspend", None),
        ("POST", f"{own}/resume", None),
        ("POST", f"{own}/grants", {"tokens": 1, "reason": "mine"}),
        ("GET", own, None),
    ):
        assert (await call(stack, method, path, attacker, body))[0] == 403
    assert (await stack.manage("GET", own))["state"] == "active"


async def test_keys_of_another_tenant_are_not_revoked_by_way_of_the_own_one(
    stack: Stack, attacker: dict[str, str]
) -> None:
    (key,) = (await stack.manage("GET", "/manage/tenants/victim/keys"))["data"]
    for path in (key["key_id"], f"..%2F..%2Fvictim%2Fkeys%2F{key['key_id']}", f"%2e%2e/{key['key_id']}"):
        status, _ = await call(stack, "DELETE", f"/manage/tenants/{stack.tenant}/keys/{path}", attacker)
        assert status in (400, 404)
    (still,) = (await stack.manage("GET", "/manage/tenants/victim/keys"))["data"]
    assert still["revoked_at"] is None


async def test_rights_that_are_taken_away_end_at_once_also_for_requests_that_come_together(
    stack: Stack, attacker: dict[str, str]
) -> None:
    path = f"/manage/tenants/{stack.tenant}/usage"
    assert {status for status, _ in await asyncio.gather(*(call(stack, "GET", path, attacker) for _ in range(20)))} == {
        200
    }
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"entra_principals": []})
    answers = await asyncio.gather(*(call(stack, "GET", path, attacker) for _ in range(20)))
    assert {status for status, _ in answers} == {403}
