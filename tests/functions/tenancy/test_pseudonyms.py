"""A tenant with pseudonyms: no user id is stored, and the books stay whole when a person is erased."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from local.emulators.entra import EmulatedEntra
from shared import timers
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.amounts import Limit
from shared.domain.ledger.balance import Account, Lane
from tests.tools.entra import running_entra, settings_of
from tests.tools.ledgers import VOID, reservation
from tests.tools.stack import Stack

USER = "ann.canary@example.com"


@pytest.fixture
async def entra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[EmulatedEntra]:
    async with running_entra(monkeypatch, tmp_path) as running:
        yield running


@pytest.fixture
def stack_settings(request: pytest.FixtureRequest) -> dict[str, str]:
    """The gateway knows Entra only in tests with tokens: the others need no emulator."""
    own: dict[str, str] = getattr(request, "param", {})
    if "entra" not in request.fixturenames:
        return own
    return {**settings_of(request.getfixturevalue("entra")), "TRUSTED_PROXY_HOPS": "1", **own}


async def switch(stack: Stack, *, on: bool) -> None:
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"pseudonymise_users": on})


async def chat_as(stack: Stack, header: str = "", *, token: str = "", source: str = "", **body: Any) -> int:
    headers = {"Authorization": f"Bearer {token}"} if token else {"api-key": stack.key}
    headers |= {"x-gateway-user": header} if header else {}
    headers |= {"X-Forwarded-For": source} if source else {}
    sent = {"messages": [{"role": "user", "content": "Hello!"}], **body}
    async with stack.session.post(stack.chat_url, json=sent, headers=headers) as response:
        await response.read()
        return response.status


async def users(stack: Stack) -> list[str]:
    await stack.settled()
    return [entry["user"] for entry in await stack.entries()]


async def book_last_month(stack: Stack) -> BillingPeriod:
    """Book an attempt as the newest of this month in the previous one, too. Returns that month."""
    gateway = await stack.gateway()
    current = BillingPeriod.containing(gateway.clock.now())
    entries = [each async for each in gateway.ledger.books.entries(Lane(stack.tenant, str(current)), 1, 100)]
    account = Account(tenant_id=stack.tenant, period=str(current.previous()), limit=Limit())
    attempt = entries[-1].attempt
    assert attempt is not None
    held = replace(reservation(stack.tenant, period=account.period), attempt=attempt)
    hold = await gateway.ledger.books.reserve(account, held)
    await gateway.ledger.books.settle(hold.reservation, VOID)
    return current.previous()


async def act(stack: Stack, verb: str, user: str, status: int | None = None, **fields: str) -> Any:
    path = f"/manage/tenants/{stack.tenant}/users/{verb}"
    return await stack.manage("POST", path, {"user": user, **fields}, status=status)


async def test_entries_and_reports_name_an_alias_whoever_states_the_user(stack: Stack) -> None:
    await switch(stack, on=True)
    await chat_as(stack, USER)
    await chat_as(stack, user=USER)
    await chat_as(stack, safety_identifier=USER)
    await chat_as(stack, "bob")
    await chat_as(stack)
    first, second, third, bob, nobody = await users(stack)
    assert first == second == third == (await act(stack, "lookup", USER))["alias"]
    assert first.startswith("u-")
    assert bob not in (first, "bob")
    assert stack.key.startswith(f"tg_{nobody}_")  # the id of the key, as for every tenant
    path = f"/manage/tenants/{stack.tenant}"
    usage = await stack.manage("GET", f"{path}/usage?group_by=user")
    assert {each["user"]: each["requests"] for each in usage["users"]} == {first: 3, bob: 1, nobody: 1}
    assert len((await stack.manage("GET", f"{path}/entries?user={first}"))["data"]) == 3
    assert (await stack.manage("GET", f"{path}/entries?user={USER}"))["data"] == []


async def test_a_caller_that_names_an_alias_is_somebody_else(stack: Stack) -> None:
    await switch(stack, on=True)
    await chat_as(stack, USER)
    (alias,) = await users(stack)
    await chat_as(stack, alias)
    await chat_as(stack, "u-others")
    assert len({*await users(stack), "u-others"}) == 4


@pytest.mark.parametrize("user", ["x" * 256, "x" * 300, " ", "Zoë", "../../~audit|x", "u-others", "\N{PILE OF POO}"])
async def test_any_user_has_an_alias(stack: Stack, user: str) -> None:
    await switch(stack, on=True)
    for _ in range(2):
        assert await chat_as(stack, user=user) == 200
    (alias,) = set(await users(stack))
    assert await act(stack, "lookup", user) == {"alias": alias, "aliases": [alias]}


async def test_forms_of_one_name_have_one_alias(stack: Stack) -> None:
    await switch(stack, on=True)
    await chat_as(stack, "Zo\u00eb")  # UTF-8 in a header
    await chat_as(stack, user="Zo\u00eb")
    await chat_as(stack, user="Zoe\u0308")
    assert len(set(await users(stack))) == 1


@pytest.mark.parametrize("stack_settings", [{"CLOSE_GRACE_HOURS": "0"}], indirect=True)
async def test_an_erased_person_cannot_be_linked_and_the_books_stay(stack: Stack) -> None:
    await switch(stack, on=True)
    await chat_as(stack, USER)
    await stack.settled()
    previous = await book_last_month(stack)
    await timers.roll_up_usage(past_due=False)
    before, usage = await stack.entries(), await stack.usage()
    gateway: Any = await stack.gateway()
    files = gateway.billing.export_chargeback._build._reports._files
    await stack.manage("POST", f"/manage/chargeback/{previous}/export", status=200)
    statements = dict(files)
    files.clear()
    await act(stack, "erase", USER, reason="request 4711")
    assert (await stack.entries(), await stack.usage()) == (before, usage)
    await stack.manage("POST", f"/manage/chargeback/{previous}/export", status=200)
    assert files == statements != {}
    for period in (previous, previous.next()):
        assert [found async for _, found in gateway.ledger.verify(str(period))] == [[]]
    await act(stack, "lookup", USER, status=404)
    await act(stack, "erase", USER, status=404, reason="again")
    await chat_as(stack, USER)
    old, new = await users(stack)
    assert new != old
    assert (await act(stack, "lookup", USER))["aliases"] == [new]


async def test_lookups_and_erasures_are_events_that_link_nothing(stack: Stack) -> None:
    await switch(stack, on=True)
    await chat_as(stack, USER)
    (alias,) = await users(stack)
    path = f"/manage/tenants/{stack.tenant}/users/lookup?reason=request%204711"
    await stack.manage("POST", path, {"user": USER})
    await act(stack, "erase", USER, reason="request 4712")
    await switch(stack, on=False)
    await timers.chain_audit(past_due=False)
    found = (await stack.manage("GET", f"/manage/audit?limit=500&object={stack.tenant}"))["data"]
    events = [each for each in found if each["action"].startswith("user.")]
    assert {(each["action"], each["actor"], each["reason"]) for each in events} == {
        ("user.erase", "admin-key", "request 4712"),
        ("user.lookup", "admin-key", "request 4711"),
    }
    assert found[0]["weakens"] == ["pseudonymise_users"]
    assert USER not in str(found)
    assert alias not in str(found)
    assert (await stack.manage("GET", "/manage/audit/verify"))["findings"] == []


async def test_a_tenant_that_changes_its_mind_keeps_what_was_written(stack: Stack) -> None:
    await chat_as(stack, USER)
    await switch(stack, on=True)
    await chat_as(stack, USER)
    await switch(stack, on=False)
    await chat_as(stack, USER)
    await switch(stack, on=True)
    await chat_as(stack, USER)
    clear, alias, clear_again, same = await users(stack)
    assert (clear, clear_again, same) == (USER, USER, alias)
    assert alias != USER
    await switch(stack, on=False)
    assert (await act(stack, "lookup", USER))["alias"] == alias


async def test_a_person_and_its_alerts_are_named_by_the_alias(entra: EmulatedEntra, stack: Stack) -> None:
    person, application = entra.people[0], entra.applications[0]
    named = (("person", person.object_id), ("application", application.client_id))
    principals = [
        {"directory_id": entra.directory_id, "kind": kind, "id": id_, "role": "tenant.use"} for kind, id_ in named
    ]
    path = f"/manage/tenants/{stack.tenant}"
    await stack.manage("PATCH", path, {"entra_principals": principals, "pseudonymise_users": True})
    assert await chat_as(stack, token=entra.token_of(person), source="203.0.113.7") == 200
    assert await chat_as(stack, token=entra.token_of(application), source="203.0.113.7") == 200
    alias, by_application = await users(stack)
    assert (await act(stack, "lookup", person.object_id))["alias"] == alias
    assert by_application == application.client_id
    await stack.manage("PATCH", path, {"address_ranges": ["203.0.113.0/24"]})
    for caller in (person, application):
        assert await chat_as(stack, token=entra.token_of(caller), source="198.51.100.9") == 403
    await stack.settled()
    gateway: Any = await stack.gateway()
    alerts = await gateway.tenancy.authenticate._watch._raise_alert._store_alert._outbox._documents.list("alerts")
    assert person.object_id not in str(alerts)
    assert alias in str(alerts)
    assert application.client_id in str(alerts)


async def test_a_tenants_administrator_serves_its_own_people_only(entra: EmulatedEntra, stack: Stack) -> None:
    person = entra.people[0]
    principal = {"directory_id": entra.directory_id, "kind": "person", "id": person.object_id, "role": "tenant.admin"}
    path = f"/manage/tenants/{stack.tenant}"
    await stack.manage("PATCH", path, {"entra_principals": [principal], "pseudonymise_users": True})
    await stack.register("other", pseudonymise_users=True)
    await chat_as(stack, USER)
    headers = {"Authorization": f"Bearer {entra.token_of(person)}"}
    for tenant, status in ((stack.tenant, 200), ("other", 403)):
        url = f"{stack.url}/manage/tenants/{tenant}/users/lookup"
        async with stack.session.post(url, json={"user": USER}, headers=headers) as response:
            assert response.status == status


@pytest.mark.parametrize("stack_settings", [{"PRIVACY_KEY": ""}], indirect=True)
async def test_without_a_privacy_key_no_tenant_can_ask_for_it(stack: Stack) -> None:
    for setting in ("pseudonymise_users", "prompt_hmac"):
        for method, path, body in (
            ("PATCH", f"/manage/tenants/{stack.tenant}", {}),
            ("POST", "/manage/tenants", {"tenant_id": "new"}),
        ):
            refused = await stack.manage(method, path, {**body, setting: True}, status=400)
            assert refused["error"]["param"] == setting
            assert "PRIVACY_KEY" in refused["error"]["message"]
    await act(stack, "lookup", USER, status=503)


@pytest.mark.parametrize("user", ["", None, 7, "x" * 5000])
async def test_a_user_that_nobody_can_have_is_refused(stack: Stack, user: Any) -> None:
    for verb in ("lookup", "erase"):
        refused = await act(stack, verb, user, status=400, **({"reason": "r"} if verb == "erase" else {}))
        assert refused["error"]["param"] == "user"
    refused = await act(stack, "erase", USER, status=400)
    assert refused["error"]["param"] == "reason"
