"""Entries and reports name the user and the application of each call."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from local.emulators.entra import EmulatedEntra
from tests.tools.entra import running_entra, settings_of
from tests.tools.stack import Stack
from tests.tools.watched_keys import stored_alerts

ANN = "6f1cd2a0-1111-4222-8333-944455556666"


async def chat_as(stack: Stack, header: str = "", **body: Any) -> None:
    headers = {"api-key": stack.key} | ({"x-gateway-user": header} if header else {})
    sent = {"messages": [{"role": "user", "content": "Hello!"}], **body}
    async with stack.session.post(stack.chat_url, json=sent, headers=headers) as response:
        assert response.status == 200


async def users(stack: Stack) -> list[str]:
    return [entry["user"] for entry in await stack.entries()]


async def test_a_tenant_that_trusts_its_callers_takes_their_header(stack: Stack) -> None:
    await chat_as(stack, "bob", user="eve")
    await chat_as(stack, ANN)
    await chat_as(stack, user="eve")
    await chat_as(stack)
    (*stated, key_id) = await users(stack)
    assert stated == ["bob", ANN, "eve"]
    assert stack.key.startswith(f"tg_{key_id}_")


async def test_a_tenant_that_does_not_trust_its_callers_ignores_their_header(stack: Stack) -> None:
    path = f"/manage/tenants/{stack.tenant}"
    assert (await stack.manage("GET", path))["trust_user_header"] is True
    await stack.manage("PATCH", path, {"trust_user_header": False})
    await chat_as(stack, "bob", user="eve")
    await chat_as(stack, "bob")
    await chat_as(stack, ANN, user=ANN)
    assert (await users(stack))[0] == "eve"
    assert all(stack.key.startswith(f"tg_{user}_") for user in (await users(stack))[1:])


async def test_calls_by_key_have_no_application(stack: Stack) -> None:
    await chat_as(stack, "bob")
    path = f"/manage/tenants/{stack.tenant}"
    (entry,) = await stack.entries()
    assert entry["application"] == ""
    usage = await stack.manage("GET", f"{path}/usage?group_by=application,user")
    assert [(each["application"], each["requests"]) for each in usage["applications"]] == [("", 1)]
    assert [each["user"] for each in usage["users"]] == ["bob"]
    assert len((await stack.manage("GET", f"{path}/entries?application="))["data"]) == 1
    assert (await stack.manage("GET", f"{path}/entries?application=a0a0"))["data"] == []


@pytest.fixture
async def entra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[EmulatedEntra]:
    async with running_entra(monkeypatch, tmp_path) as running:
        yield running


@pytest.fixture
def stack_settings(request: pytest.FixtureRequest) -> dict[str, str]:
    """The gateway knows Entra only in tests with tokens: the others need no emulator."""
    if "entra" not in request.fixturenames:
        return {}
    return {**settings_of(request.getfixturevalue("entra")), "TRUSTED_PROXY_HOPS": "1"}


async def chat_with(stack: Stack, token: str, source: str = "203.0.113.7", header: str = "", **body: Any) -> Any:
    headers = {"Authorization": f"Bearer {token}", "X-Forwarded-For": source} | (
        {"x-gateway-user": header} if header else {}
    )
    sent = {"messages": [{"role": "user", "content": "Hello!"}], **body}
    async with stack.session.post(stack.chat_url, json=sent, headers=headers) as response:
        return response.status, await response.json()


async def allow(entra: EmulatedEntra, stack: Stack) -> None:
    """Let the first person and the first application of the directory act for the tenant."""
    named = (("person", entra.people[0].object_id), ("application", entra.applications[0].client_id))
    principals = [
        {"directory_id": entra.directory_id, "kind": kind, "id": id_, "role": "tenant.use"} for kind, id_ in named
    ]
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"entra_principals": principals})


async def test_a_person_is_the_user_whatever_else_is_stated(entra: EmulatedEntra, stack: Stack) -> None:
    await allow(entra, stack)
    person = entra.people[0]
    assert (await chat_with(stack, entra.token_of(person), header=ANN, user="eve"))[0] == 200
    (entry,) = await stack.entries()
    assert (entry["user"], entry["key_id"]) == (person.object_id, "")
    assert entry["application"] == entra.claims_of(person)["azp"]


async def test_an_application_states_users_but_no_person(entra: EmulatedEntra, stack: Stack) -> None:
    await allow(entra, stack)
    application = entra.applications[0]
    token = entra.token_of(application)
    for stated in ({"header": "bob"}, {"user": "eve"}, {"header": ANN}, {"user": ANN}, {}):
        assert (await chat_with(stack, token, **stated))[0] == 200
    assert await users(stack) == ["bob", "eve", *[application.client_id] * 3]


async def test_usage_is_reported_by_application_before_and_after_it_is_rolled_up(
    entra: EmulatedEntra, stack: Stack
) -> None:
    await allow(entra, stack)
    person, application = entra.people[0], entra.applications[0]
    await chat_with(stack, entra.token_of(person, azp=ANN), header="bob")
    for _ in range(2):
        await chat_with(stack, entra.token_of(application), header="bob")
    await chat_as(stack, "bob")
    path = f"/manage/tenants/{stack.tenant}/usage?group_by=application,user"
    before = await stack.manage("GET", path)
    counts = {each["application"]: each["requests"] for each in before["applications"]}
    assert counts == {ANN: 1, application.client_id: 2, "": 1}
    assert {each["user"]: each["requests"] for each in before["users"]} == {person.object_id: 1, "bob": 3}
    await (await stack.gateway()).ledger.roll_up_usage()
    assert await stack.manage("GET", path) == before


async def test_a_token_from_outside_the_tenants_ranges_is_refused_and_an_alert(
    entra: EmulatedEntra, stack: Stack
) -> None:
    await allow(entra, stack)
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"address_ranges": ["203.0.113.0/24"]})
    token = entra.token_of(entra.people[0])
    assert (await chat_with(stack, token))[0] == 200
    for _ in range(3):
        status, refused = await chat_with(stack, token, source="198.51.100.9")
        assert (status, refused["error"]["code"]) == (403, "address_not_allowed")
    await stack.settled()
    directory: Any = (await stack.gateway()).tenancy.tenants._tenants
    (alert,) = await stored_alerts(directory._documents)
    assert alert["type"] == "tallygate.token.address_refused"
    assert alert["data"] == {
        "tenant_id": stack.tenant, "holder": entra.people[0].object_id, "network": "198.51.100.9"
    }  # fmt: skip
